-- A move in one round trip, for who has read where it goes from and to a moment ago.
--
-- A function, as only here each statement sees what was committed while the one before it waited.

-- Hangs node `moving` at another place, unless it has left `old_parent`, or any of the nodes
-- `seen`, those on the way to both places, is not of the version any more that it was: then
-- nothing is done.
create function move_unless_changed(
    moving bigint, old_parent bigint, old_name text, new_parent bigint, new_name text,
    seen bigint[], versions bigint[]
) returns boolean language plpgsql as $$
begin
    perform pg_advisory_xact_lock(1953654117); -- the tree's structure, as db/branches.py has it
    perform from unnest(seen, versions) way (id, version)
             left join lateral (
                select node.version from node where node.id = way.id limit 1) now on true
             where now.version is distinct from way.version;
    if found then
        return false;
    end if;
    update node set parent_id = new_parent, name = new_name, ctime = now(), version = version + 1
     where id = moving and parent_id = old_parent and name = old_name;
    if not found then
        return false;
    end if;
    insert into change (parent_id, name) values (old_parent, old_name), (new_parent, new_name);
    return true;
end $$;
