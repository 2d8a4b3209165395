-- The consumer's role may create in its database and owns only what it creates.
CREATE ROLE writer LOGIN PASSWORD 'writer';
CREATE DATABASE afterimage;
GRANT CREATE ON DATABASE afterimage TO writer;
\connect afterimage
GRANT CREATE ON SCHEMA public TO writer;
