#!/usr/bin/env node
/** The paystate command. */
import { requireNode } from '../require-node.js';

requireNode();
const { runCommand } = await import('./commands.js');
await runCommand(process.argv);
