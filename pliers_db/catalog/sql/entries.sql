-- Rarer kinds, all with the same columns: kind, path, definition, owner, acl, acl_default, comment. What only later
-- versions than 15 know is read through to_jsonb(row), which gives null where there is no such column.

-- name: event_triggers
select 'event trigger', format('%I', e.evtname),
    format('on %s%s execute %s, %s', e.evtevent, ' when tag in (' || array_to_string(e.evttags, ', ') || ')',
        e.evtfoid::regprocedure,
        case e.evtenabled when 'O' then 'origin' when 'R' then 'replica' when 'A' then 'always' else 'disabled' end),
    pg_get_userbyid(e.evtowner), null::text[], null::text[], obj_description(e.oid, 'pg_event_trigger')
from pg_event_trigger e
where not exists (select from pg_depend where classid = 'pg_event_trigger'::regclass and objid = e.oid and deptype = 'e')

-- name: publications
select 'publication', format('%I', p.pubname),
    concat_ws(e'\n',
        case when p.puballtables then 'all tables' end,
        nullif(concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
            case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end,
            case when p.pubviaroot then 'via root' end,
            case when to_jsonb(p) ->> 'pubgencols' = 's' then 'stored generated columns' end), ''),
        (select string_agg(format('schema %I', n.nspname), e'\n' order by n.nspname)
            from pg_publication_namespace x join pg_namespace n on n.oid = x.pnnspid where x.pnpubid = p.oid),
        (select string_agg(format('table %s%s%s', x.prrelid::regclass,
                ' (' || (select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
                    where attrelid = x.prrelid and attnum = any (x.prattrs)) || ')',
                ' where ' || pg_get_expr(x.prqual, x.prrelid)), e'\n' order by x.prrelid::regclass::text)
            from pg_publication_rel x where x.prpubid = p.oid)),
    pg_get_userbyid(p.pubowner), null::text[], null::text[], obj_description(p.oid, 'pg_publication')
from pg_publication p
where not exists (select from pg_depend where classid = 'pg_publication'::regclass and objid = p.oid and deptype = 'e')

-- name: statistics
select 'statistics', format('%I.%I', n.nspname, s.stxname),
    pg_get_statisticsobjdef(s.oid) || coalesce(' target ' || nullif(s.stxstattarget, -1), ''),
    pg_get_userbyid(s.stxowner), null::text[], null::text[], obj_description(s.oid, 'pg_statistic_ext')
from pg_statistic_ext s
    join pg_namespace n on n.oid = s.stxnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'

-- name: collations
select 'collation', format('%I.%I', n.nspname, c.collname),
    concat_ws(', ', 'provider ' || c.collprovider::text, case when not c.collisdeterministic then 'not deterministic' end,
        'locale ' || coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale'),
        'collate ' || c.collcollate, 'ctype ' || c.collctype, 'rules ' || (to_jsonb(c) ->> 'collicurules')),
    pg_get_userbyid(c.collowner), null::text[], null::text[], obj_description(c.oid, 'pg_collation')
from pg_collation c
    join pg_namespace n on n.oid = c.collnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_collation'::regclass and objid = c.oid and deptype = 'e')

-- name: casts
select 'cast', format('(%s as %s)', format_type(c.castsource, null), format_type(c.casttarget, null)),
    concat_ws(', ', 'method ' || c.castmethod::text, 'function ' || nullif(c.castfunc, 0)::regprocedure::text,
        'context ' || c.castcontext::text),
    null::text, null::text[], null::text[], obj_description(c.oid, 'pg_cast')
from pg_cast c
where c.oid >= 16384
    -- 'i': a range type's cast to its multirange
    and not exists (select from pg_depend where classid = 'pg_cast'::regclass and objid = c.oid and deptype in ('e', 'i'))

-- name: operators
select 'operator', o.oid::regoperator::text,
    concat_ws(', ', 'function ' || o.oprcode, 'commutator ' || nullif(o.oprcom, 0)::regoperator::text,
        'negator ' || nullif(o.oprnegate, 0)::regoperator::text, 'restrict ' || nullif(o.oprrest::oid, 0)::regproc::text,
        'join ' || nullif(o.oprjoin::oid, 0)::regproc::text,
        case when o.oprcanhash then 'hashes' end, case when o.oprcanmerge then 'merges' end),
    pg_get_userbyid(o.oprowner), null::text[], null::text[], obj_description(o.oid, 'pg_operator')
from pg_operator o
    join pg_namespace n on n.oid = o.oprnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_operator'::regclass and objid = o.oid and deptype = 'e')

-- name: operator_classes
select 'operator class', format('%I.%I using %I', n.nspname, c.opcname, am.amname),
    concat_ws(', ', 'for ' || format_type(c.opcintype, null), case when c.opcdefault then 'by default' end,
        format('family %I', f.opfname), 'storage ' || format_type(nullif(c.opckeytype, 0), null)),
    pg_get_userbyid(c.opcowner), null::text[], null::text[], obj_description(c.oid, 'pg_opclass')
from pg_opclass c
    join pg_namespace n on n.oid = c.opcnamespace
    join pg_am am on am.oid = c.opcmethod
    join pg_opfamily f on f.oid = c.opcfamily
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_opclass'::regclass and objid = c.oid and deptype = 'e')

-- name: operator_families
select 'operator family', format('%I.%I using %I', n.nspname, f.opfname, am.amname),
    concat_ws(e'\n',
        (select string_agg(format('operator %s %s', amopstrategy, amopopr::regoperator), e'\n'
            order by amopstrategy, amopopr::regoperator::text) from pg_amop where amopfamily = f.oid),
        (select string_agg(format('function %s %s', amprocnum, amproc::regprocedure), e'\n'
            order by amprocnum, amproc::regprocedure::text) from pg_amproc where amprocfamily = f.oid)),
    pg_get_userbyid(f.opfowner), null::text[], null::text[], obj_description(f.oid, 'pg_opfamily')
from pg_opfamily f
    join pg_namespace n on n.oid = f.opfnamespace
    join pg_am am on am.oid = f.opfmethod
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_opfamily'::regclass and objid = f.oid and deptype = 'e')

-- name: text_search
select 'text search configuration', format('%I.%I', n.nspname, c.cfgname),
    concat_ws(e'\n', format('parser %I', p.prsname),
        (select string_agg(format('token %s: %s', maptokentype, dictionaries), e'\n' order by maptokentype)
            from (select maptokentype, string_agg(mapdict::regdictionary::text, ', ' order by mapseqno) as dictionaries
                from pg_ts_config_map where mapcfg = c.oid group by maptokentype) as m)),
    pg_get_userbyid(c.cfgowner), null::text[], null::text[], obj_description(c.oid, 'pg_ts_config')
from pg_ts_config c
    join pg_namespace n on n.oid = c.cfgnamespace
    join pg_ts_parser p on p.oid = c.cfgparser
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_ts_config'::regclass and objid = c.oid and deptype = 'e')
union all
select 'text search dictionary', format('%I.%I', n.nspname, c.dictname),
    concat_ws(', ', format('template %I', t.tmplname), 'options ' || c.dictinitoption),
    pg_get_userbyid(c.dictowner), null, null, obj_description(c.oid, 'pg_ts_dict')
from pg_ts_dict c
    join pg_namespace n on n.oid = c.dictnamespace
    join pg_ts_template t on t.oid = c.dicttemplate
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend where classid = 'pg_ts_dict'::regclass and objid = c.oid and deptype = 'e')

-- name: languages
select 'language', format('%I', l.lanname),
    concat_ws(', ', 'handler ' || nullif(l.lanplcallfoid, 0)::regprocedure::text,
        'inline ' || nullif(l.laninline, 0)::regprocedure::text,
        'validator ' || nullif(l.lanvalidator, 0)::regprocedure::text, case when l.lanpltrusted then 'trusted' end),
    pg_get_userbyid(l.lanowner), l.lanacl::text[],
    case when l.lanacl is not null then acldefault('l', l.lanowner)::text[] end, obj_description(l.oid, 'pg_language')
from pg_language l
where l.oid >= 16384
    and not exists (select from pg_depend where classid = 'pg_language'::regclass and objid = l.oid and deptype = 'e')

-- name: foreign_data
-- The options of a user mapping hold passwords: they are not read.
select 'foreign data wrapper', format('%I', w.fdwname),
    concat_ws(', ', 'handler ' || nullif(w.fdwhandler, 0)::regprocedure::text,
        'validator ' || nullif(w.fdwvalidator, 0)::regprocedure::text,
        'options (' || array_to_string(w.fdwoptions, ', ') || ')'),
    pg_get_userbyid(w.fdwowner), w.fdwacl::text[],
    case when w.fdwacl is not null then acldefault('F', w.fdwowner)::text[] end,
    obj_description(w.oid, 'pg_foreign_data_wrapper')
from pg_foreign_data_wrapper w
where not exists (
    select from pg_depend where classid = 'pg_foreign_data_wrapper'::regclass and objid = w.oid and deptype = 'e')
union all
select 'foreign server', format('%I', s.srvname),
    concat_ws(', ', format('wrapper %I', w.fdwname), 'type ' || s.srvtype, 'version ' || s.srvversion,
        'options (' || array_to_string(s.srvoptions, ', ') || ')'),
    pg_get_userbyid(s.srvowner), s.srvacl::text[],
    case when s.srvacl is not null then acldefault('S', s.srvowner)::text[] end, obj_description(s.oid, 'pg_foreign_server')
from pg_foreign_server s
    join pg_foreign_data_wrapper w on w.oid = s.srvfdw
union all
select 'user mapping', format('%I for %I', m.srvname, m.usename), '', null, null, null, null
from pg_user_mappings m

-- name: default_privileges
select 'default privileges',
    format('of %I%s on %s', pg_get_userbyid(a.defaclrole), ' in ' || quote_ident(n.nspname),
        case a.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines' when 'T' then 'types'
            when 'n' then 'schemas' else 'large objects' end),
    '', pg_get_userbyid(a.defaclrole), a.defaclacl::text[],
    -- In a schema they add to the global ones.
    case when a.defaclnamespace = 0 and a.defaclobjtype <> 'L'
        then acldefault(case a.defaclobjtype when 'S' then 's' else a.defaclobjtype end, a.defaclrole)::text[] else '{}' end,
    null
from pg_default_acl a
    left join pg_namespace n on n.oid = a.defaclnamespace

-- name: settings
select 'setting', format('of the database%s', ' for ' || quote_ident(r.rolname)),
    array_to_string(array(select s from unnest(d.setconfig) as s order by 1), e'\n'),
    null::text, null::text[], null::text[], null::text
from pg_db_role_setting d
    left join pg_roles r on r.oid = d.setrole
where d.setdatabase = (select oid from pg_database where datname = current_database())

-- name: others
select 'access method', format('%I', a.amname), format('type %s, handler %s', a.amtype, a.amhandler),
    null::text, null::text[], null::text[], obj_description(a.oid, 'pg_am')
from pg_am a
where a.oid >= 16384
    and not exists (select from pg_depend where classid = 'pg_am'::regclass and objid = a.oid and deptype = 'e')
union all
select 'conversion', format('%I.%I', n.nspname, c.conname),
    format('from %s to %s by %s%s', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc,
        case when c.condefault then ', default' end),
    pg_get_userbyid(c.conowner), null, null, obj_description(c.oid, 'pg_conversion')
from pg_conversion c
    join pg_namespace n on n.oid = c.connamespace
where n.nspname !~ '^pg_'
    and not exists (select from pg_depend where classid = 'pg_conversion'::regclass and objid = c.oid and deptype = 'e')
union all
select 'transform', format('for %s language %I', format_type(t.trftype, null), l.lanname),
    concat_ws(' ', 'from ' || nullif(t.trffromsql::oid, 0)::regprocedure::text,
        'to ' || nullif(t.trftosql::oid, 0)::regprocedure::text),
    null, null, null, obj_description(t.oid, 'pg_transform')
from pg_transform t
    join pg_language l on l.oid = t.trflang
where not exists (select from pg_depend where classid = 'pg_transform'::regclass and objid = t.oid and deptype = 'e')
union all
select 'security label', pg_describe_object(s.classoid, s.objoid, s.objsubid), format('%s: %s', s.provider, s.label),
    null, null, null, null
from pg_seclabel s
