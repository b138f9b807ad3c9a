# SPDX-License-Identifier: ISC
"""What a hostile role can put into schemas where it may create: objects with the names of PostgreSQL's own.

Each answers as PostgreSQL's does, and tells the server's log of who called it (CVE-2018-1058)."""
import re

ROLE = "mallory"
CALLED = re.compile(r"planted (.+) is called in (\S+) by (\S+) with (.*)")

FUNCTIONS = [  # name, arguments, result
    ("format", "text, text, text", "text"), ("format", "text, name, name", "text"),
    ("format", "text, text", "text"), ("format", "text, name", "text"), ("format", "text, regclass", "text"),
    ("format", "text, regclass, text", "text"), ("format", "text, regclass, name", "text"),
    ("format", "text, regclass, regclass", "text"), ("format", "text, regnamespace, text", "text"),
    ("format", "text, name, regclass, text", "text"), ("format", "text, text, regclass, text", "text"),
    ("format", "text, name, text, regclass, int4, int4", "text"), ("format", "text, text, text, text", "text"),
    ("set_config", "text, text, bool", "text"), ("current_setting", "text", "text"),
    ("current_setting", "text, bool", "text"), ("has_table_privilege", "oid, text", "bool"),
    ("has_table_privilege", "regclass, text", "bool"), ("has_any_column_privilege", "oid, text", "bool"),
    ("has_any_column_privilege", "regclass, text", "bool"),
    ("has_schema_privilege", "text, regnamespace, text", "bool"), ("has_schema_privilege", "oid, text", "bool"),
    ("has_sequence_privilege", "oid, text", "bool"), ("has_column_privilege", "regclass, text, text", "bool"),
    ("pg_has_role", "oid, text", "bool"), ("pg_has_role", "regrole, text", "bool"),
    ("pg_has_role", "text, text", "bool"),
    ("pg_notify", "text, text", "void"), ("to_regclass", "text", "regclass"), ("to_regrole", "text", "regrole"),
    ("pg_sequence_last_value", "regclass", "int8"), ("pg_get_serial_sequence", "text, text", "text"),
    ("pg_get_expr", "pg_node_tree, oid", "text"), ("pg_get_userbyid", "oid", "name"),
    ("hashtextextended", "text, int8", "int8"), ("octet_length", "text", "int4"),
    ("split_part", "text, text, int4", "text"),
    ("quote_ident", "text", "text"), ("quote_ident", "name", "text"), ("left", "name, int4", "text"),
    ("gen_random_uuid", "", "uuid"), ("clock_timestamp", "", "timestamptz"), ("pg_backend_pid", "", "int4"),
    ("pg_is_in_recovery", "", "bool"), ("version", "", "text"), ("chr", "int4", "text"), ("host", "inet", "text"),
    ("concat_ws", "text, text, text, text, text", "text"), ("setval", "regclass, int8, bool", "int8"),
    ("pg_advisory_xact_lock", "int8", "void"), ("pg_advisory_lock_shared", "int4, int4", "void"),
    ("pg_try_advisory_lock", "int4, int4", "bool"), ("to_char", "timestamp, text", "text"),
    ("jsonb_build_object", "text, text", "jsonb"), ("to_jsonb", "text", "jsonb"), ("md5", "text", "text"),
]
SETS = [("unnest", "text[]", "text"), ("unnest", "int8[]", "int8"), ("unnest", "tid[]", "tid"),
        ("unnest", "int4[]", "int4")]
AGGREGATES = [("array_agg", "tid", "tid[]", "pg_catalog.array_append"), ("sum", "int8", "int8", "pg_catalog.int8pl"),
              ("max", "int4", "int4", "pg_catalog.int4larger"),
              ("bool_and", "bool", "bool", "pg_catalog.booland_statefunc"),
              ("bool_or", "bool", "bool", "pg_catalog.boolor_statefunc")]
OPERATORS = [  # name, left, right, result, the two as PostgreSQL's own operator takes them
    (name, left, right, "bool", as_left, as_right) for name in ("=", "<>") for left, right, as_left, as_right in (
        ("name", "text", "text", "text"), ("text", "name", "text", "text"), ("oid", "regclass", "oid", "oid"),
        ("regclass", "oid", "oid", "oid"), ("regclass", "regclass", "oid", "oid"), ("text", "text", "text", "text"),
        ("name", "name", "name", "name"), ("oid", "oid", "oid", "oid"), ("int8", "int8", "int8", "int8"),
        ("int8", "int4", "int8", "int8"), ("int4", "int4", "int4", "int4"), ("regtype", "regtype", "oid", "oid"),
        ('"char"', '"char"', '"char"', '"char"'), ("oid", "regrole", "oid", "oid"),
        ("regrole", "oid", "oid", "oid"), ("regrole", "regrole", "oid", "oid"),
        ("regproc", "regprocedure", "oid", "oid"), ("oid", "regprocedure", "oid", "oid"),
        ("bool", "bool", "bool", "bool"))
] + [
    ("||", "text", "text", "text", "text", "text"), ("||", "text", "regclass", "text", "text", "text"),
    ("||", "regclass", "text", "text", "text", "text"), ("||", "name", "text", "text", "text", "text"),
    ("||", "text", "name", "text", "text", "text"), ("||", "name", "name", "text", "text", "text"),
    ("||", "oid", "text", "text", "text", "text"), ("||", "text", "int4", "text", "text", "text"),
    ("~", "text", "text", "bool", "text", "text"), ("~~", "name", "text", "bool", "text", "text"),
    ("~~", "text", "text", "bool", "text", "text"), ("->>", "jsonb", "text", "text", "jsonb", "text"),
    ("%", "int8", "int4", "int8", "int8", "int8"), ("&", "int8", "int8", "int8", "int8", "int8"),
    (">>", "int8", "int4", "int8", "int8", "int4"), (">=", "int8", "int8", "bool", "int8", "int8"),
    ("<", "int4", "int4", "bool", "int4", "int4"), (">", "int4", "int4", "bool", "int4", "int4"),
    (">", "int8", "int4", "bool", "int8", "int4"), ("<=", "int8", "int8", "bool", "int8", "int8"),
    ("-", "int4", "int4", "int4", "int4", "int4"),
]
RELATIONS = ["pg_class", "pg_attribute", "pg_namespace", "pg_roles", "pg_inherits", "pg_locks", "pg_trigger",
             "pg_depend", "pg_index", "pg_stat_activity", "pg_proc", "pg_type", "pg_policy"]
COLUMNS = {"pg_attribute": "attrelid, attname, atttypid, attnum, attnotnull, attidentity, attisdropped"}
TYPES = ["text", "name", "regclass", "oid", "uuid", "jsonb", "timestamptz", "regnamespace", "bytea", "regrole"]


def _function(schema, name, arguments, result, answer, label):
    return f"""CREATE FUNCTION {schema}."{name}"({arguments}) RETURNS {result} LANGUAGE plpgsql
        SET search_path = pg_catalog AS $$ BEGIN {_tell(label)} {answer} END $$;
        GRANT EXECUTE ON FUNCTION {schema}."{name}"({arguments}) TO PUBLIC;"""


def _tell(label):
    label = label.replace("%", "%%")
    return (f"RAISE LOG 'planted {label} is called in % by % with %', current_database(), current_user,"
            " current_setting('application_name');")


def _statements(schema):
    for name, arguments, result in FUNCTIONS + [(n, a, f"SETOF {r}") for n, a, r in SETS]:
        given = ", ".join(f"${n + 1}" for n in range(len(arguments.split(",")))) if arguments else ""
        call = f"pg_catalog.{name}({given})"
        answer = (f"PERFORM {call};" if result == "void" else f"RETURN QUERY SELECT {call};"
                  if result.startswith("SETOF") else f"RETURN {call};")
        yield _function(schema, name, arguments, result, answer, f"{name}({arguments})")
    for number, (name, left, right, result, as_left, as_right) in enumerate(OPERATORS):
        answer = f"RETURN $1::{as_left} OPERATOR(pg_catalog.{name}) $2::{as_right};"
        yield _function(schema, f"operator {number}", f"{left}, {right}", result, answer, f"{name}({left}, {right})")
        yield (f'CREATE OPERATOR {schema}.{name} (FUNCTION = {schema}."operator {number}", LEFTARG = {left},'
               f" RIGHTARG = {right});")
    for number, (name, kind, state, step) in enumerate(AGGREGATES):
        first = "" if step == "pg_catalog.array_append" else "WHEN $1 IS NULL THEN $2"
        answer = f"RETURN CASE {first} WHEN true THEN {step}($1, $2) END;"
        yield _function(schema, f"step {number}", f"{state}, {kind}", state, answer, f"{name}({kind})")
        yield f'CREATE AGGREGATE {schema}.{name}({kind}) (SFUNC = {schema}."step {number}", STYPE = {state});'
    yield _function(schema, "note", "what text", "bool", "RETURN true;", "name").replace(
        "planted name", "planted %").replace("with %', ", "with %', what, ")
    for name in RELATIONS:
        yield (f"CREATE VIEW {schema}.{name} AS SELECT {COLUMNS.get(name, '*')} FROM pg_catalog.{name}"
               f" WHERE {schema}.note('relation {name}');")
        yield f"GRANT SELECT ON {schema}.{name} TO PUBLIC;"
    for name in TYPES:
        yield f"CREATE DOMAIN {schema}.{name} AS pg_catalog.{name} CHECK ({schema}.note('type {name}'));"


def plant(database, *schemas):
    """As a role without any rights but that to create in public, as everybody may up to PostgreSQL 14, and in
    schemas of its own."""
    database.execute(f"CREATE ROLE {ROLE}; GRANT CREATE ON SCHEMA public TO PUBLIC")
    for schema in schemas:
        if schema != "public":
            database.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {ROLE}; GRANT USAGE ON SCHEMA {schema} TO PUBLIC")
        database.execute(f"SET search_path = pg_catalog; SET ROLE {ROLE}; " + "\n".join(_statements(schema)))


def uproot(database):
    database.execute(f"SET search_path = pg_catalog; DROP OWNED BY {ROLE} CASCADE; DROP ROLE {ROLE}")


def called(database, *applications):
    """{(what, by whom)} of all that sessions of these applications have called in this database."""
    return {(what, role) for what, place, role, application in CALLED.findall(database.server.process.log())
            if place == database.name and application.startswith(applications)}
