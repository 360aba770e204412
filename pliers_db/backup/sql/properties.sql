-- What pg_dump leaves out because it belongs to the database as an object of the cluster.

-- name: properties
-- What belongs to a database but not into its dump.
select pg_get_userbyid(d.datdba) as owner,
       d.datconnlimit as connection_limit,
       coalesce((select jsonb_agg(jsonb_build_object('role', case when a.grantee = 0 then null
                                                                  else pg_get_userbyid(a.grantee) end,
                                                     'privilege', a.privilege_type, 'grantable', a.is_grantable))
                   from aclexplode(d.datacl) a), '[]') as grants,
       d.datacl is not null as has_grants,
       coalesce((select jsonb_agg(jsonb_build_object('role', case when s.setrole = 0 then null
                                                                  else pg_get_userbyid(s.setrole) end,
                                                     'setting', each.setting) order by s.setrole, each.position)
                   from pg_db_role_setting s, unnest(s.setconfig) with ordinality as each(setting, position)
                  where s.setdatabase = d.oid), '[]') as settings
  from pg_database d
 where d.datname = %(database)s;
