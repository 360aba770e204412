-- name: roles
-- Which roles does this server have, what may each do, and whose member is it?
select r.rolname as name,
       to_jsonb(r) - array['oid', 'rolname', 'rolpassword'] as attributes,
       array(select m.roleid::regrole::text from pg_auth_members m where m.member = r.oid order by 1) as member_of
  from pg_roles r
 where r.rolname !~ '^pg_'
