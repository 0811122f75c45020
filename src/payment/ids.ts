import { randomBytes } from 'node:crypto';

/** A UUIDv7 (RFC 9562) of the given time: sorts by creation, so that the newest payments are the last rows of the index. */
export function uuidv7(at: Date): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(at.getTime(), 0, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/**
 * A number for the platform: 32 hex digits, inside the alphabet and length that all three platforms accept
 * (`^[0-9A-Za-z]{16,32}$`), and unique because it is the UUID itself.
 */
export const platformNumber = (uuid: string): string => uuid.replaceAll('-', '');
