-- SPDX-License-Identifier: ISC
-- outbox-relay: comes first in every script, and end.sql last. No migration. In some databases other roles
-- may create objects, such as a function format(text, regclass), that would be called instead of PostgreSQL's
-- own ones, with the rights of who runs the script (CVE-2018-1058). So until end.sql no schema is searched
-- but pg_catalog.

SELECT pg_catalog.set_config('outbox_relay.search_path', pg_catalog.current_setting('search_path'), false),
       pg_catalog.set_config('outbox_relay.quote_all_identifiers',
                             pg_catalog.current_setting('quote_all_identifiers'), false);
SET search_path = pg_catalog, pg_temp;
SET quote_all_identifiers = off; -- expressions of the catalog are compared as text
