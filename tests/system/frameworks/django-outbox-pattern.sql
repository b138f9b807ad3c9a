-- SPDX-License-Identifier: ISC
-- The table that django-outbox-pattern makes, after juntossomosmais/django-outbox-pattern, django_outbox_pattern/models.py and\n-- choices.py.
CREATE TABLE published (
    id          uuid         NOT NULL PRIMARY KEY,
    version     varchar(100),
    destination varchar(255) NOT NULL,
    body        jsonb        NOT NULL,
    added       timestamptz  NOT NULL,
    expires_at  timestamptz  NOT NULL,
    retry       integer      NOT NULL CHECK (retry >= 0),
    status      integer      NOT NULL,
    headers     jsonb        NOT NULL
);
CREATE INDEX ON published (status);
CREATE INDEX ON published (added);
