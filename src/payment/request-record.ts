import { defineEntity, p } from '@mikro-orm/postgresql';

const schema = defineEntity({
  name: 'RequestRecord',
  tableName: 'request',
  properties: {
    appId: p.text().primary(),
    method: p.text().primary(),
    requestId: p.text().primary(),
    bodyHash: p.text(),
    paymentId: p.uuid(),
    refundId: p.uuid().strictNullable(),
    /** What the first call was answered beside the resource, such as the outcome of a report. */
    answer: p.json<Readonly<Record<string, string>>>(),
    createdAt: p.datetime(3),
  },
});

/** One mutating request of a caller, kept for ever: the same id with the same body is the same act. */
export class RequestRecord extends schema.class {}
schema.setClass(RequestRecord);
export { schema as RequestRecordSchema };
