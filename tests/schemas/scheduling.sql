-- Exclusion constraints, ranges, a span of two columns, partial and expression indexes, NULLS NOT DISTINCT.
create extension if not exists btree_gist;
create table rooms (
    id int generated always as identity primary key,
    name text not null,
    floor smallint check (floor between -2 and 40),
    code char(4) not null unique check (code ~ '^[A-Z]{2}[0-9]{2}$')
);
create unique index rooms_name_folded on rooms (lower(name));
create table bookings (
    id bigserial primary key,
    room_id int not null references rooms,
    during tstzrange not null,
    title varchar(20),
    exclude using gist (room_id with =, during with &&)
);
create table shifts (
    room_id int not null references rooms,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    check (ends_at > starts_at),
    exclude using gist (room_id with =, tstzrange(starts_at, ends_at) with &&)
);
create table members (
    room_id int not null references rooms,
    email text not null check (email = lower(email) and email like '%@%'),
    role text not null check (role in ('owner', 'guest')),
    badge int unique nulls not distinct,
    primary key (room_id, email)
);
create unique index one_owner on members (room_id) where role = 'owner';
create table price_bands (
    band int4range primary key,
    prices numrange[],
    open_days datemultirange,
    net numeric(8, 2) not null check (net > 0),
    tax numeric(8, 2) not null check (tax >= 0 and tax < net),
    gross numeric(9, 2) not null check (gross = net + tax)
);
