-- Each query leaves out what belongs to PostgreSQL or to an extension, and names its columns as model.py does. acl and
-- acl_default become grants (grants.py); relation and domain tie parts to their table or domain, number a
-- constraint to its columns.

-- name: schemas
select n.nspname as name, pg_get_userbyid(n.nspowner) as owner, n.nspacl::text[] as acl,
    acldefault('n', n.nspowner)::text[] as acl_default, d.description as comment
from pg_namespace n
    left join pg_description d on d.objoid = n.oid and d.classoid = 'pg_namespace'::regclass
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_namespace'::regclass and objid = n.oid and deptype = 'e')

-- name: extensions
select e.extname as name, e.extversion as version, n.nspname as schema, d.description as comment
from pg_extension e
    join pg_namespace n on n.oid = e.extnamespace
    left join pg_description d on d.objoid = e.oid and d.classoid = 'pg_extension'::regclass

-- name: tables
select c.oid as relation, n.nspname as schema, c.relname as name,
    case c.relkind
        when 'r' then 'table' when 'p' then 'partitioned table' when 'f' then 'foreign table'
        when 'v' then 'view' else 'materialized view'
    end as kind,
    pg_get_userbyid(c.relowner) as owner,
    case c.relpersistence when 'p' then 'permanent' else 'unlogged' end as persistence,
    am.amname as access_method,
    s.spcname as tablespace,
    case when c.reloptions is null and toast.reloptions is null and p.detach_pending is not true then '{}'
        else array(
            select unnest(c.reloptions)
            union all select 'toast.' || o from unnest(toast.reloptions) as o
            union all select 'detach pending' where p.detach_pending
            order by 1
        )
    end as options,
    case when not c.relrowsecurity then 'off' when c.relforcerowsecurity then 'forced' else 'on' end as row_security,
    case c.relreplident when 'd' then 'default' when 'n' then 'nothing' when 'f' then 'full' else 'index' end
        as replica_identity,
    c.relispopulated as populated,
    case
        when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid)
        when c.relkind = 'f' then (
            select format('server %I', v.srvname) || coalesce(' options (' || array_to_string(f.ftoptions, ', ') || ')', '')
            from pg_foreign_table f join pg_foreign_server v on v.oid = f.ftserver
            where f.ftrelid = c.oid
        )
    end as definition,
    case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end as partition_key,
    pg_get_expr(c.relpartbound, c.oid) as partition_bound,
    coalesce(p.parents, '{}') as parents,
    case when c.reloftype <> 0 then format_type(c.reloftype, null) end as of_type,
    c.relacl::text[] as acl,
    case when c.relacl is not null then acldefault('r', c.relowner)::text[] end as acl_default,
    d.description as comment
from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_am am on am.oid = c.relam
    left join pg_tablespace s on s.oid = c.reltablespace
    left join pg_class toast on toast.oid = c.reltoastrelid
    left join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
    left join (
        select inhrelid, array_agg(inhparent::regclass::text order by inhseqno) as parents,
            bool_or(inhdetachpending) as detach_pending
        from pg_inherits group by inhrelid
    ) as p on p.inhrelid = c.oid
where c.relkind in ('r', 'p', 'f', 'v', 'm') and c.relpersistence <> 't'
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')

-- name: columns
-- Of tables, views and composite types, in their order.
select a.attrelid as relation, a.attnum as number, a.attname as name,
    format_type(a.atttypid, a.atttypmod) as type,
    a.attnotnull as not_null,
    pg_get_expr(e.adbin, e.adrelid) as default,
    case a.attidentity when 'a' then 'always' when 'd' then 'by default' else '' end as identity,
    case a.attgenerated when 's' then 'stored' when 'v' then 'virtual' else '' end as generated,
    case when a.attcollation <> t.typcollation then a.attcollation::regcollation::text end as collation,
    case when a.attstorage <> t.typstorage then
        case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end
    end as storage,
    case a.attcompression when 'p' then 'pglz' when 'l' then 'lz4' end as compression,
    nullif(a.attstattarget, -1)::integer as statistics,
    case when a.attoptions is null and a.attfdwoptions is null then '{}'
        else array(select unnest(a.attoptions) union all select unnest(a.attfdwoptions) order by 1)
    end as options,
    a.attislocal as local,
    a.attacl::text[] as acl,
    case when a.attacl is not null then acldefault('c', c.relowner)::text[] end as acl_default,
    pg_get_userbyid(c.relowner) as owner,
    d.description as comment
from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef e on e.adrelid = a.attrelid and e.adnum = a.attnum
    left join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = a.attnum
where a.attnum > 0 and not a.attisdropped
    and c.relkind in ('r', 'p', 'f', 'v', 'm', 'c') and c.relpersistence <> 't'
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by a.attrelid, a.attnum

-- name: constraints
-- Of tables and domains. The copies that partitions get of a foreign key follow from the parent's.
select nullif(k.conrelid, 0) as relation, nullif(k.contypid, 0) as domain, k.conname as name,
    case k.contype
        when 'p' then 'primary key' when 'u' then 'unique' when 'f' then 'foreign key' when 'c' then 'check'
        when 'x' then 'exclusion' when 'n' then 'not null' else 'trigger'
    end as kind,
    pg_get_constraintdef(k.oid) as definition,
    k.conkey as numbers, k.confrelid as referenced, k.confkey as referenced_numbers,
    case when k.confrelid <> 0 then k.confrelid::regclass::text end as references,
    k.condeferrable as deferrable, k.condeferred as deferred, k.convalidated as valid,
    f.tgconstraint is null as enabled,
    k.conislocal as local, d.description as comment
from pg_constraint k
    join pg_namespace n on n.oid = k.connamespace
    left join (
        select distinct tgconstraint from pg_trigger where tgenabled <> 'O' and tgisinternal
    ) as f on f.tgconstraint = k.oid
    left join pg_description d on d.objoid = k.oid and d.classoid = 'pg_constraint'::regclass
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not (k.contype = 'f' and k.conparentid <> 0)

-- name: indexes
select i.indrelid as relation, c.relname as name,
    pg_get_indexdef(i.indexrelid) as definition,
    i.indisunique as unique, i.indisprimary as primary,
    i.indisvalid and i.indisready and i.indislive as valid,
    i.indisclustered as clustered, i.indisreplident as replica_identity,
    (select inhparent::regclass::text from pg_inherits where inhrelid = c.oid) as parent,
    s.spcname as tablespace,
    array(
        select format('column %s: %s', a.attnum, a.attstattarget) from pg_attribute a
        where a.attrelid = c.oid and a.attstattarget >= 0 order by a.attnum
    ) as statistics,
    d.description as comment
from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_tablespace s on s.oid = c.reltablespace
    left join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'

-- name: triggers
select t.tgrelid as relation, t.tgname as name, pg_get_triggerdef(t.oid) as definition,
    case t.tgenabled when 'O' then 'origin' when 'R' then 'replica' when 'A' then 'always' else 'disabled' end
        as enabled,
    d.description as comment
from pg_trigger t
    left join pg_description d on d.objoid = t.oid and d.classoid = 'pg_trigger'::regclass
where not t.tgisinternal

-- name: rules
select r.ev_class as relation, r.rulename as name, pg_get_ruledef(r.oid) as definition,
    case r.ev_enabled when 'O' then 'origin' when 'R' then 'replica' when 'A' then 'always' else 'disabled' end
        as enabled,
    d.description as comment
from pg_rewrite r
    left join pg_description d on d.objoid = r.oid and d.classoid = 'pg_rewrite'::regclass
where r.rulename <> '_RETURN' and r.oid >= 16384 -- FirstNormalObjectId: not made by initdb

-- name: policies
select p.polrelid as relation, p.polname as name,
    case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
        else 'all' end as command,
    p.polpermissive as permissive,
    array(
        select case r when 0 then 'PUBLIC' else pg_get_userbyid(r)::text end from unnest(p.polroles) as r order by 1
    ) as roles,
    pg_get_expr(p.polqual, p.polrelid) as using,
    pg_get_expr(p.polwithcheck, p.polrelid) as check,
    d.description as comment
from pg_policy p
    left join pg_description d on d.objoid = p.oid and d.classoid = 'pg_policy'::regclass

-- name: sequences
select n.nspname as schema, c.relname as name, pg_get_userbyid(c.relowner) as owner,
    format_type(q.seqtypid, null) as type, q.seqstart as start, q.seqincrement as increment,
    q.seqmin as minimum, q.seqmax as maximum, q.seqcache as cache, q.seqcycle as cycle,
    o.owned_by, o.table_path,
    case c.relpersistence when 'p' then 'permanent' else 'unlogged' end as persistence,
    c.relacl::text[] as acl,
    case when c.relacl is not null then acldefault('s', c.relowner)::text[] end as acl_default,
    d.description as comment
from pg_sequence q
    join pg_class c on c.oid = q.seqrelid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
    left join (
        select x.objid, format('%s.%I', x.refobjid::regclass, a.attname) as owned_by,
            format('%I.%I', tn.nspname, t.relname) as table_path
        from pg_depend x
            join pg_attribute a on a.attrelid = x.refobjid and a.attnum = x.refobjsubid
            join pg_class t on t.oid = x.refobjid
            join pg_namespace tn on tn.oid = t.relnamespace
        where x.classid = 'pg_class'::regclass and x.refclassid = 'pg_class'::regclass and x.deptype in ('a', 'i')
    ) as o on o.objid = c.oid
where c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')

-- name: types
-- Not the types that come with a table, nor the arrays and multiranges that come with every type.
select t.oid as domain, t.typrelid as relation, n.nspname as schema, t.typname as name,
    case t.typtype
        when 'e' then 'enum' when 'd' then 'domain' when 'r' then 'range type' when 'c' then 'composite type'
        else 'base type'
    end as kind,
    pg_get_userbyid(t.typowner) as owner,
    array(select enumlabel::text from pg_enum where enumtypid = t.oid order by enumsortorder) as labels,
    case t.typtype
        when 'd' then format_type(t.typbasetype, t.typtypmod) when 'r' then format_type(r.rngsubtype, null)
    end as base,
    t.typnotnull as not_null,
    coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault) as default,
    case when t.typtype = 'd' and t.typcollation <> b.typcollation then t.typcollation::regcollation::text end
        as collation,
    case t.typtype
        when 'r' then concat_ws(
            ', ', 'multirange ' || format_type(r.rngmultitypid, null), 'operator class ' || oc.opcname,
            'collation ' || nullif(r.rngcollation, 0)::regcollation::text,
            'canonical ' || nullif(r.rngcanonical::oid, 0)::regprocedure::text,
            'difference ' || nullif(r.rngsubdiff::oid, 0)::regprocedure::text
        )
        when 'b' then format(
            'input %s, output %s, receive %s, send %s, length %s, alignment %s, storage %s, category %s',
            t.typinput, t.typoutput, t.typreceive, t.typsend, t.typlen, t.typalign, t.typstorage, t.typcategory
        )
    end as definition,
    t.typacl::text[] as acl,
    case when t.typacl is not null then acldefault('T', t.typowner)::text[] end as acl_default,
    d.description as comment
from pg_type t
    join pg_namespace n on n.oid = t.typnamespace
    left join pg_class c on c.oid = t.typrelid
    left join pg_range r on r.rngtypid = t.oid
    left join pg_opclass oc on oc.oid = r.rngsubopc
    left join pg_type b on b.oid = t.typbasetype
    left join pg_description d on d.objoid = t.oid and d.classoid = 'pg_type'::regclass
where (
        t.typtype in ('e', 'd', 'r')
        or t.typtype = 'c' and c.relkind = 'c'
        or t.typtype = 'b' and not exists (select from pg_type e where e.typarray = t.oid)
    )
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_type'::regclass and objid = t.oid and deptype = 'e')

-- name: routines
select n.nspname as schema, p.proname as name, oidvectortypes(p.proargtypes) as arguments,
    case p.prokind
        when 'f' then 'function' when 'p' then 'procedure' when 'a' then 'aggregate' else 'window function'
    end as kind,
    pg_get_userbyid(p.proowner) as owner,
    case
        when p.prokind <> 'a' then pg_get_functiondef(p.oid)
        else (
            select format(
                'arguments %s; state %s %s, initial %s; transition %s, final %s%s, combine %s, moving %s %s %s; '
                    || 'kind %s, sort %s, parallel %s',
                pg_get_function_arguments(p.oid), format_type(g.aggtranstype, null), g.aggtransspace, g.agginitval,
                g.aggtransfn, g.aggfinalfn, case when g.aggfinalextra then ' with extra arguments' end,
                g.aggcombinefn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn, g.aggkind,
                nullif(g.aggsortop, 0)::regoperator, p.proparallel
            )
            from pg_aggregate g where g.aggfnoid = p.oid
        )
    end as definition,
    p.proacl::text[] as acl,
    case when p.proacl is not null then acldefault('f', p.proowner)::text[] end as acl_default,
    d.description as comment
from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    left join pg_description d on d.objoid = p.oid and d.classoid = 'pg_proc'::regclass
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    -- 'i': the constructors of a range type
    and not exists (
        select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype in ('e', 'i')
    )
