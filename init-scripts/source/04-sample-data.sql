-- A few rows of each table, with a NULL in every column that allows one.
\connect inventory
SET ROLE inventory;

INSERT INTO public.users (name, email, active, token, profile, age, created_at) VALUES
    ('Ada Lovelace', 'ada@example.org', true, '0b6f3f5e-7c1d-4d0a-9a55-1c7d3b6f2a10', '{"plan": "pro", "tags": ["math", "engine"]}', 36, '2024-01-10 09:30:00+00'),
    ('Grace Hopper', 'grace@example.org', true, '5a1c9a2e-3b44-4b8f-8c0e-6d2f1e7b9c21', '{"plan": "free"}', 85, '2024-02-20 17:45:12.345678+02'),
    ('Łukasz Żółć', NULL, false, '9d7e2b10-aa3f-4e61-b7c4-0f5a8e3d6b32', NULL, NULL, '1999-12-31 23:59:59.999999+00'),
    ('小林 さくら 🌸', 'sakura@example.org', true, 'c3e8f7d1-12b5-4f9a-a6d8-7b4c2e9f0a43', '{}', 29, '2024-06-01 00:00:00+09'),
    ('', '', false, 'e4d9a8c2-56f7-4a1b-8e3d-9c0b1a2f3d54', '[]', 0, '2024-07-04 12:00:00+00');

INSERT INTO public.orders (user_id, status, amount, quantity, note, created_at, updated_at) VALUES
    (1, 'paid', 120.50, 2, 'leave at the door', '2024-03-01 10:00:00', '2024-03-01 10:05:00+00'),
    (1, 'shipped', 0.01, 1, NULL, '2024-03-02 11:30:15.25', NULL),
    (2, 'new', 9999999999.99, 100, 'wholesale', '2024-03-03 08:00:00.000001', '2024-03-04 08:00:00+00'),
    (3, 'refunded', -19.99, 1, 'wrong size', '2024-03-05 16:20:00', '2024-03-09 09:09:09.999999+00'),
    (4, 'new', 0.00, 0, '', '1970-01-01 00:00:00', NULL);

INSERT INTO public.employees (first_name, last_name, dob, city, salary) VALUES
    ('Nina', 'Berg', '1984-05-17', 'Oslo', 72000),
    ('Tomás', 'Silva', '1991-11-02', 'Lisbon', 58500.75),
    ('Mei', 'Chen', '1978-02-28', 'Taipei', 91250.5),
    ('Omar', 'Haddad', '1969-12-31', NULL, 64000.00),
    ('Ella', 'Novak', '2000-02-29', 'Prague', 49999.999);
