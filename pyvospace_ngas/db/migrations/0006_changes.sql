-- Which names of the tree have changed, for those who follow it.
--
-- A server of an older release writes none of this down: while both run, who follows sees what the
-- older one does only when it asks by itself.

-- Only that something about a name changed: what it is now is looked up when it is told. Written
-- in the transaction that changes it; to be read once no older transaction runs any more.
create table change (
    tx        xid8 not null default pg_current_xact_id(),
    parent_id bigint,                       -- null for the root: any node may have changed
    name      text collate "C" not null
);
create index change_tx on change (tx);

-- How far transactions had come at a time. What is below the first mark is not kept any more.
create table change_mark (
    tx xid8        primary key,
    at timestamptz not null default now()
);
insert into change_mark (tx) values (pg_snapshot_xmin(pg_current_snapshot()));
