-- One server is source and target: tests make a target database of their own.
CREATE ROLE debezium LOGIN REPLICATION PASSWORD 'debezium';
CREATE ROLE writer LOGIN PASSWORD 'writer';
CREATE DATABASE inventory;
\connect inventory
CREATE EXTENSION vector;
