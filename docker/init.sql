-- The role and the database of test_vo_ngas.ini, in a new PostgreSQL. The servers make their tables.
CREATE ROLE vos_user LOGIN PASSWORD 'vos_user';
CREATE DATABASE vospace OWNER vos_user TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
-- Nobody logs in as the superuser over the network.
ALTER ROLE CURRENT_USER PASSWORD NULL;
