-- The tables that are replicated, and the publication that says so.
\connect inventory
SET ROLE inventory;

CREATE TABLE public.users (
    id bigserial PRIMARY KEY,
    name text NOT NULL,
    email text,
    active boolean NOT NULL DEFAULT true,
    token uuid NOT NULL DEFAULT gen_random_uuid(),
    profile jsonb,
    age smallint,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE public.orders (
    id bigserial PRIMARY KEY,
    user_id bigint NOT NULL,
    status text NOT NULL,
    amount numeric(12, 2) NOT NULL,
    quantity integer NOT NULL DEFAULT 1,
    note text,
    created_at timestamp NOT NULL DEFAULT localtimestamp,
    updated_at timestamptz
);

CREATE TABLE public.employees (
    emp_id serial PRIMARY KEY,
    first_name text NOT NULL,
    last_name text NOT NULL,
    dob date NOT NULL,
    city text,
    salary numeric NOT NULL
);

-- Logical decoding is on after the start that follows; until then the server would warn.
SET client_min_messages = 'error';
CREATE PUBLICATION afterimage FOR TABLE public.users, public.orders, public.employees;
RESET client_min_messages;

GRANT USAGE ON SCHEMA public TO debezium;
GRANT SELECT ON public.users, public.orders, public.employees TO debezium;
