drop function pliers.create_event_partitions(date, integer);
drop table pliers.events;
