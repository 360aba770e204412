-- name: unknown_to_pgmig
-- The statements that take away what pgmig refuses to look at, so that it looks at the rest.
select format('drop statistics %I.%I', n.nspname, s.stxname)
  from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace
union all
select format('drop rule %I on %s', r.rulename, r.ev_class::regclass)
  from pg_rewrite r join pg_class c on c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace
 where r.rulename <> '_RETURN' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
union all
select format('drop foreign table %s cascade', c.oid::regclass)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'f' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
union all
select format('drop %s %s cascade', case p.prokind when 'a' then 'aggregate' else 'function' end, p.oid::regprocedure)
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where p.prokind in ('a', 'w') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
   and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
union all
select format('alter table %s no inherit %s', i.inhrelid::regclass, i.inhparent::regclass)
  from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class parent on parent.oid = i.inhparent
 where c.relkind = 'r' and parent.relkind = 'r'
union all
select format('drop index %s', i.indexrelid::regclass)
  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
 where not i.indisvalid and c.relkind = 'i' and n.nspname !~ '^pg_'
union all
select format('drop type %s cascade', t.oid::regtype)
  from pg_type t join pg_namespace n on n.oid = t.typnamespace
 where t.typtype = 'b' and t.typcategory <> 'A' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
   and not exists (select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
