-- A wide legacy schema: no foreign keys where there should be, tables without keys, flags as letters, 120 columns.
create schema legacy;
create table legacy.tbl_cust (
    cust_no char(8) primary key check (cust_no ~ '^C[0-9]{7}$'), nm1 varchar(30) not null, nm2 varchar(30), typ char(1) not null default 'P'
        check (typ in ('P', 'C', 'X')), del_flg char(1) not null check (del_flg = 'Y' or del_flg = 'N'), crd_lim numeric(9) check (crd_lim >= 0),
    cre_dt char(8) not null check (cre_dt ~ '^(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])$'), country_cd varchar(2) not null check (length(country_cd) = 2)
);
create table legacy.tbl_log (line text, at timestamp);
create table legacy.tbl_ord (ord_no int not null, pos int not null check (pos > 0 and pos < 1000), cust_no char(8) references legacy.tbl_cust,
    qty int not null check (qty <> 0), stat int not null check (stat in (10, 20, 30, 99)), constraint ord_pk primary key (ord_no, pos));
create table legacy.one_row (id boolean primary key default true check (id), title text not null);
create table legacy.nothing ();
do $$ declare columns text; begin
    select string_agg(format('f%s %s%s', n, (array['text', 'int', 'numeric(10,2)', 'date', 'varchar(12)', 'boolean'])[1 + n % 6],
        case when n % 3 = 0 then ' not null' else '' end), ', ') into columns from generate_series(1, 120) as n;
    execute format('create table legacy.wide (%s, primary key (f3, f9))', columns);
end $$;
