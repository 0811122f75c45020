#!/usr/bin/env node
/** The paystate command. */
import { enableCompileCache } from 'node:module';
import { requireNode } from '../require-node.js';

requireNode();
// Most of a short command's time would otherwise go into compiling the packages anew.
enableCompileCache();
const { runCommand } = await import('./commands.js');
await runCommand(process.argv);
