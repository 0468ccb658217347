"""The tables: NGAS's in NGAS's layout, and those of our own beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

# Both databases read these types; `numeric` and `float` become their own.
NGAS: Final[dict[str, str]] = {
    "ngas_cache": """
        disk_id varchar(128) not null, file_id varchar(64) not null, file_version int not null,
        cache_time numeric(16, 6) not null, cache_delete smallint not null,
        primary key (disk_id, file_id, file_version)""",
    "ngas_cfg": """
        cfg_name varchar(32) not null, cfg_par_group_ids text not null, cfg_comment varchar(255),
        primary key (cfg_name)""",
    "ngas_cfg_pars": """
        cfg_group_id varchar(32) not null, cfg_par varchar(128) not null, cfg_val varchar(255),
        cfg_comment varchar(255), primary key (cfg_group_id, cfg_par)""",
    "ngas_disks": """
        disk_id varchar(128) not null, archive varchar(64) not null,
        installation_date varchar(23) not null, type varchar(64) not null,
        manufacturer varchar(64), capacity_mb numeric(20, 0) default 0,
        logical_name varchar(128) not null, host_id varchar(32), slot_id varchar(32),
        mounted smallint, mount_point varchar(128), number_of_files int not null,
        available_mb int not null, bytes_stored numeric(20, 0) not null,
        completed smallint not null, completion_date varchar(23), checksum varchar(64),
        total_disk_write_time float, last_check varchar(23), last_host_id varchar(32),
        primary key (disk_id)""",
    "ngas_disks_hist": """
        disk_id varchar(128) not null, hist_date varchar(23) not null,
        hist_origin varchar(64) not null, hist_synopsis varchar(255) not null,
        hist_descr_mime_type varchar(64), hist_descr text""",
    "ngas_files": """
        disk_id varchar(128) not null, file_name varchar(255) not null,
        file_id varchar(64) not null, file_version int default 1, format varchar(32) not null,
        file_size numeric(20, 0) not null, uncompressed_file_size numeric(20, 0) not null,
        compression varchar(32), ingestion_date varchar(23) not null, file_ignore smallint,
        checksum varchar(64), checksum_plugin varchar(64),
        file_status char(8) default '00000000', creation_date varchar(23),
        container_id varchar(36), ingestion_rate int, io_time numeric(20, 0) default -1,
        primary key (file_id, file_version, disk_id)""",
    "ngas_containers": """
        container_id varchar(36) not null, parent_container_id varchar(36),
        container_name varchar(255) not null, ingestion_date varchar(23),
        container_size numeric(20, 0) not null, container_type varchar(10) not null,
        primary key (container_id), unique (parent_container_id, container_name)""",
    "ngas_hosts": """
        host_id varchar(32) not null, domain varchar(30) not null,
        ip_address varchar(20) not null, mac_address varchar(20), n_slots smallint,
        cluster_name varchar(32), installation_date varchar(23), srv_version varchar(20),
        srv_port int not null, srv_archive smallint, srv_retrieve smallint,
        srv_process smallint, srv_remove smallint, srv_state varchar(20),
        srv_data_checking smallint, srv_check_start varchar(23), srv_check_remain int,
        srv_check_end varchar(23), srv_check_rate float, srv_check_mb float,
        srv_checked_mb float, srv_check_files numeric(20, 0), srv_check_count numeric(20, 0),
        srv_suspended smallint, srv_req_wake_up_srv varchar(32),
        srv_req_wake_up_time varchar(23), primary key (host_id, srv_port)""",
    "ngas_mirroring_queue": """
        instance_id varchar(32) not null, file_id varchar(64) not null,
        file_version int not null, ingestion_date varchar(23) not null,
        srv_list_id int not null, xml_file_info varchar(2000) not null, status int not null,
        message varchar(2000), last_activity_time varchar(23) not null,
        scheduling_time varchar(23) not null, primary key (file_id, file_version)""",
    "ngas_mirroring_hist": """
        instance_id varchar(32) not null, file_id varchar(64) not null,
        file_version int not null, ingestion_date varchar(23) not null,
        srv_list_id int not null, xml_file_info varchar(2000) not null, status int not null,
        message varchar(2000), last_activity_time varchar(23) not null,
        scheduling_time varchar(23) not null, primary key (file_id, file_version)""",
    "ngas_subscribers": """
        host_id varchar(32) not null, srv_port int not null, subscr_prio smallint not null,
        subscr_id varchar(255) not null, subscr_url varchar(255) not null,
        subscr_start_date varchar(23), subscr_filter_plugin varchar(64),
        subscr_filter_plugin_pars varchar(128), last_file_ingestion_date varchar(23),
        concurrent_threads int default 1""",
    "ngas_subscr_back_log": """
        host_id varchar(32) not null, srv_port int not null, subscr_id varchar(255) not null,
        subscr_url varchar(255) not null, file_id varchar(64) not null,
        file_name varchar(255) not null, file_version int not null,
        ingestion_date varchar(23) not null, format varchar(32) not null""",
    "ngas_subscr_queue": """
        subscr_id varchar(255) not null, file_id varchar(64) not null,
        file_version int default 1, disk_id varchar(128) not null,
        file_name varchar(255) not null, ingestion_date varchar(23) not null,
        format varchar(32) not null, status int default -2, status_date varchar(23) not null,
        comment varchar(255), primary key (subscr_id, file_id, file_version, disk_id)""",
}

OURS: Final[dict[str, str]] = {
    # A file that is on its way into a volume: where it will be, until its row is there.
    "archive_intent": """
        token varchar(36) not null, disk_id varchar(128) not null, file_id varchar(64) not null,
        file_version int not null, file_name varchar(255) not null,
        other_name varchar(255) not null, abandoned smallint not null default 0,
        primary key (token)""",
    # A file whose row is gone and that is still to be removed.
    "archive_removal": """
        disk_id varchar(128) not null, file_name varchar(255) not null,
        primary key (disk_id, file_name)""",
    # What was asked of a node and how it went (RequestDbBackend).
    "archive_request": """
        request_id varchar(36) not null, host_id varchar(32) not null,
        command varchar(64) not null, request_time varchar(23) not null,
        update_time varchar(23) not null, completion_time varchar(23) not null,
        expected_count int, actual_count int not null, succeeded smallint not null,
        message text not null, primary key (request_id)""",
    # Where a node is found; ngas_hosts has no room for more than an IPv4 address.
    "archive_address": "host_id varchar(32) not null, url text not null, primary key (host_id)",
}

INDEXES: Final = (
    ("ngas_files_ingestion_date", "ngas_files", "ingestion_date"),  # what is new, for subscribers
    ("ngas_disks_hist_disk_id", "ngas_disks_hist", "disk_id"),
    ("ngas_disks_hist_date", "ngas_disks_hist", "hist_date"),
    ("ngas_disks_hist_origin", "ngas_disks_hist", "hist_origin"),
    ("ngas_subscribers_id", "ngas_subscribers", "subscr_id"),
    ("ngas_subscr_queue_id", "ngas_subscr_queue", "subscr_id"),
    ("archive_intent_file_id", "archive_intent", "file_id"),
    ("archive_request_ended", "archive_request", "host_id, completion_time"),
)


def statements() -> Iterator[str]:
    """Yield what makes the tables where they are missing, in SQL that both databases read."""
    for name, columns in (NGAS | OURS).items():
        yield f"create table if not exists {name} ({columns})"
    for name, table, columns in INDEXES:
        yield f"create index if not exists {name} on {table} ({columns})"
