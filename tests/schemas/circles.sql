-- Self-references and circles of foreign keys: nullable, deferrable, and neither.
create table departments (
    id uuid primary key,
    name text not null unique,
    parent_id uuid references departments,
    head_id uuid not null
);
create table employees (
    id uuid primary key,
    department_id uuid not null references departments,
    boss_id uuid references employees check (boss_id <> id),
    email text not null unique
);
alter table departments add foreign key (head_id) references employees;
create table books (id int primary key, current_edition int, title text not null);
create table editions (book_id int not null references books, number int not null, primary key (book_id, number));
alter table books add foreign key (id, current_edition) references editions deferrable initially deferred;
create table a (id int primary key, b_id int);
create table b (id int primary key, c_id int);
create table c (id int primary key, a_id int references a, note text);
alter table a add foreign key (b_id) references b;
alter table b add foreign key (c_id) references c;
create table nodes (id int primary key, owner_id int not null references nodes, depth int not null check (depth >= 0));
create table versions (
    document text not null,
    number int not null check (number > 0),
    previous int,
    primary key (document, number),
    foreign key (document, previous) references versions,
    check (previous <> number)
);
