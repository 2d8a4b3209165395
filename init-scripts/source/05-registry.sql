-- The schema registry keeps its schemas here, so that their ids outlive its process.
\connect postgres
CREATE ROLE apicurio LOGIN PASSWORD 'apicurio';
CREATE DATABASE apicurio OWNER apicurio;
