drop table pliers.memberships;
drop table pliers.users;
drop table pliers.organizations;
