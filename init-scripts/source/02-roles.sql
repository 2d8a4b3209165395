-- `inventory` owns the application's database; `debezium` owns nothing and reads what it is given.
CREATE ROLE inventory LOGIN PASSWORD 'inventory';
CREATE ROLE debezium LOGIN REPLICATION PASSWORD 'debezium';
CREATE DATABASE inventory OWNER inventory;
