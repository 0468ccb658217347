-- Bearer tokens, each narrowed to reading or to a part of the tree, and to a time.

create table token (
    id        text collate "C" primary key,   -- what it is listed and revoked by
    hash      bytea       not null unique,    -- the token itself is never stored
    account   text        not null references account (name) on delete cascade,
    parent    text        references token (id) on delete cascade,  -- made by it, gone with it
    read_only boolean     not null,
    path      text        not null,
    created   timestamptz not null default now(),
    expires   timestamptz not null,
    used      timestamptz
);
create index token_account on token (account, created);
create index token_parent on token (parent) where parent is not null;
create index token_expires on token (expires);

-- Locked nodes are few, and a delete asks for them.
create index node_locked on node (parent_id)
 where props ? 'ivo://cadc.nrc.ca/vospace/core#islocked';
