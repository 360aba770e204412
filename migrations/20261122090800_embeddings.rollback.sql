drop table pliers.embeddings;

-- The extension stays if something outside this schema uses it, or somebody else brought it in.
do $$
begin
    drop extension if exists vector;
exception
    when dependent_objects_still_exist or insufficient_privilege then null;
end
$$;
