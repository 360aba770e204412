-- Domains with CHECK (of domains), enums, composite types, arrays of all of them, and every built-in type.
create type mood as enum ('sad', 'ok', 'happy');
create domain positive as int check (value > 0);
create domain percent as positive check (value <= 100);
create domain postcode as text not null check (value ~ '^[0-9]{5}(-[0-9]{4})?$');
create domain email as varchar(60) check (value ~ '^[^@ ]+@[^@ ]+\.[^@ ]+$');
create type address as (street text, code postcode, share percent, moods mood[]);
create type span as range (subtype = float8);
create table everything (
    id smallserial primary key,
    mood mood not null, moods mood[] not null, percent percent not null, percents percent[], code postcode,
    mail email not null unique, home address not null, homes address[], span span not null, spans span_multirange,
    b boolean not null, i2 int2 not null, i4 int4 not null, i8 int8 not null, n numeric not null, n2 numeric(6, 3) not null,
    n3 numeric(3) not null, f4 real not null, f8 float8 not null, m money not null, t text not null, v varchar not null,
    v3 varchar(3) not null, c char not null, c5 char(5) not null, nm name not null, qc "char" not null, u uuid not null,
    d date not null, ts timestamp not null, tz timestamptz(3) not null, ti time not null, tt timetz not null,
    iv interval not null, by bytea not null, j json not null, jb jsonb not null, x xml, ip inet not null,
    net cidr not null, mac macaddr not null, mac8 macaddr8 not null, bt bit(5) not null, vb bit varying(7) not null,
    tv tsvector not null, tq tsquery not null, pt point not null, ln line not null, ls lseg not null, bx box not null,
    pa path not null, po polygon not null, ci circle not null, o oid not null, lsn pg_lsn not null, sn pg_snapshot not null,
    jp jsonpath not null, ra int8range not null, mr tsmultirange not null, tid tid not null, rc regclass not null,
    grid int[][] not null, days date[] not null check (cardinality(days) >= 3),
    loud text generated always as (upper(t)) stored check (loud <> ''),
    search tsvector generated always as (to_tsvector('simple', t)) stored
);
create table "Mixed Case" ("Id" int primary key, "select" text not null, "%" int check ("%" between 0 and 100), "a""b" text);
create table "Order" ("from" int references "Mixed Case" ("Id"), "to" int not null references "Mixed Case",
    unique ("from", "to"), check ("from" <> "to"));
