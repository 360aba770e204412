drop table pliers.outbox;
