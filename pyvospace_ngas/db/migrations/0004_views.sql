-- Archives that are unpacked into containers.
-- oldest: 1

-- The hidden tree that an attempt builds until it is attached; what is left of one whose attempt
-- ended otherwise is purged. There is no foreign key: either may be gone before the other.
create table unpack (
    attempt_id bigint primary key,
    node_id    bigint not null unique
);

-- An attempt that stores one member of the archive that this other attempt unpacks.
alter table attempt add column unpack_id bigint;
create index attempt_unpack on attempt (unpack_id) where unpack_id is not null;
