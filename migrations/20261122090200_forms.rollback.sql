alter table pliers.forms drop constraint forms_published_version_fkey;
drop table pliers.form_versions;
drop table pliers.forms;
