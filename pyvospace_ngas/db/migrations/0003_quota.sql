-- What a container and all below it may hold; and a trash that one can get things back from.

-- Bytes of all nodes below the container, kept right by whoever crosses its boundary. The limit
-- stands in the node's props as well, so that resolving a path tells of it without a look here.
create table quota (
    node_id bigint primary key references node (id) on delete cascade,
    bytes   bigint      not null check (bytes >= 0),
    used    bigint      not null,
    since   timestamptz not null default now()
);

-- What pushes have announced. It counts while the job runs: nobody has to release it.
create table reservation (
    job_id  text   not null references job (id) on delete cascade,
    node_id bigint not null references quota (node_id) on delete cascade,
    bytes   bigint not null check (bytes > 0),
    primary key (job_id, node_id)
);
create index reservation_node on reservation (node_id);

-- Since when a tree is being purged: from then on it cannot be restored.
alter table trash add column purging timestamptz;
create index trash_purging on trash (purging) where purging is not null;
create index trash_deleted_by on trash (deleted_by, deleted, node_id);
