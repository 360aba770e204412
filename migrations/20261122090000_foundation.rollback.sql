drop function pliers.is_keyed_list(jsonb);
drop function pliers.is_slug(text);
drop function pliers.uuid7();
revoke usage on schema pliers from pliers_app;
drop schema pliers;

-- The role stays if somebody is a member of it, another database grants to it, or somebody else made it.
do $$
begin
    if not exists (select from pg_auth_members where roleid = to_regrole('pliers_app')) then
        drop role if exists pliers_app;
    end if;
exception
    when dependent_objects_still_exist or insufficient_privilege then null;
end
$$;

-- The extension stays if something outside this schema uses it, or somebody else brought it in.
do $$
begin
    drop extension if exists btree_gin;
exception
    when dependent_objects_still_exist or insufficient_privilege then null;
end
$$;
