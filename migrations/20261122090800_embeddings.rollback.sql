drop table pliers.embeddings;

-- The extension stays if something outside this schema uses it.
do $$
begin
    drop extension if exists vector;
exception
    when dependent_objects_still_exist then null;
end
$$;
