import { defineEntity, p } from '@mikro-orm/postgresql';

const schema = defineEntity({
  name: 'PaidOrder',
  tableName: 'paid_order',
  properties: {
    appId: p.text().primary(),
    orderId: p.text().primary(),
    paymentId: p.uuid(),
  },
});

/** The first paid payment of an app's order. Its primary key is what keeps two replicas from both missing a second one. */
export class PaidOrder extends schema.class {}
schema.setClass(PaidOrder);
export { schema as PaidOrderSchema };
