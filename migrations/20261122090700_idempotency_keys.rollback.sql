drop table pliers.idempotency_keys;
