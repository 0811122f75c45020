/**
 * Server reflection, v1 and v1alpha, from the descriptors that `buf build` wrote: files are answered byte for byte with all their
 * imports, which is what generic clients need to resolve Timestamp and the error details.
 */
import { readFileSync } from 'node:fs';
import { createFileRegistry, fromBinary, toBinary, type DescFile } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import * as grpc from '@grpc/grpc-js';
import {
  ServerReflectionService,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from '../gen/grpc/reflection/v1/reflection.js';
import { ServerReflectionService as AlphaService } from '../gen/grpc/reflection/v1alpha/reflection.js';

/** The descriptors stand beside the generated code in src; compiled code runs from dist/src. */
const CANDIDATES = ['../gen/descriptors.binpb', '../../../src/gen/descriptors.binpb'];

type Answer = NonNullable<ServerReflectionResponse['messageResponse']>;

export function addReflection(server: grpc.Server, services: readonly string[]): void {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readDescriptors()));
  const files = [...registry.files];

  const answer = (request: ServerReflectionRequest): Answer => {
    const asked = request.messageRequest;
    switch (asked?.$case) {
      case 'listServices':
        return { $case: 'listServicesResponse', value: { service: services.map((name) => ({ name })) } };
      case 'fileByFilename':
        return fileAnswer(files.find((file) => file.proto.name === asked.value), asked.value);
      case 'fileContainingSymbol':
        return fileAnswer(fileOf(asked.value), asked.value);
      case 'fileContainingExtension':
        return failure(grpc.status.NOT_FOUND, `there are no extensions of ${asked.value.containingType}`);
      case 'allExtensionNumbersOfType':
        if (registry.getMessage(asked.value) === undefined) return failure(grpc.status.NOT_FOUND, `there is no message ${asked.value}`);
        return { $case: 'allExtensionNumbersResponse', value: { baseTypeName: asked.value, extensionNumber: [] } };
      default:
        return failure(grpc.status.INVALID_ARGUMENT, 'the request asks nothing');
    }
  };

  /** A symbol, or a field or method of one. */
  const fileOf = (symbol: string): DescFile | undefined => {
    const parent = symbol.slice(0, Math.max(symbol.lastIndexOf('.'), 0));
    return (registry.get(symbol) ?? registry.get(parent))?.file;
  };

  const handler = (call: grpc.ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>): void => {
    call.on('data', (request: ServerReflectionRequest) => {
      call.write({ validHost: request.host, originalRequest: request, messageResponse: answer(request) });
    });
    call.on('error', () => call.end());
    call.on('end', () => call.end());
  };
  server.addService(ServerReflectionService, { serverReflectionInfo: handler });
  server.addService(AlphaService, { serverReflectionInfo: handler });
}

function fileAnswer(file: DescFile | undefined, name: string): Answer {
  if (file === undefined) return failure(grpc.status.NOT_FOUND, `there is no ${name}`);
  const bytes = withImports(file).map((one) => Buffer.from(toBinary(FileDescriptorProtoSchema, one.proto)));
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto: bytes } };
}

function withImports(file: DescFile, found = new Set<DescFile>()): DescFile[] {
  if (!found.has(file)) {
    found.add(file);
    for (const dependency of file.dependencies) withImports(dependency, found);
  }
  return [...found];
}

const failure = (errorCode: number, errorMessage: string): Answer => ({ $case: 'errorResponse', value: { errorCode, errorMessage } });

function readDescriptors(): Buffer {
  let missing: unknown;
  for (const candidate of CANDIDATES) {
    try {
      return readFileSync(new URL(candidate, import.meta.url));
    } catch (error) {
      missing = error;
    }
  }
  throw new Error('the descriptors of the contract are missing; run npm run gen', { cause: missing });
}
