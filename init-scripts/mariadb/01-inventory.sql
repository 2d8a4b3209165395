-- `inventory` owns the application's database; `debezium` reads it and the binary log.
CREATE DATABASE inventory CHARACTER SET utf8mb4;

CREATE USER 'inventory'@'%' IDENTIFIED BY 'inventory';
GRANT ALL ON inventory.* TO 'inventory'@'%';

CREATE USER 'debezium'@'%' IDENTIFIED BY 'debezium';
GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, BINLOG MONITOR, LOCK TABLES
    ON *.* TO 'debezium'@'%';

USE inventory;

CREATE TABLE customers (
    id int AUTO_INCREMENT PRIMARY KEY,
    name varchar(100) NOT NULL,
    email varchar(200),
    active tinyint(1) NOT NULL DEFAULT 1,
    created_at datetime(6) NOT NULL
);

CREATE TABLE products (
    sku varchar(40) PRIMARY KEY,
    title varchar(200) NOT NULL,
    price decimal(12, 2) NOT NULL,
    stock int NOT NULL,
    released date
);

INSERT INTO customers (name, email, active, created_at) VALUES
    ('Ada Lovelace', 'ada@example.org', 1, '2024-01-10 09:30:00'),
    ('Zoë Ångström', NULL, 0, '2024-02-20 17:45:12.345678');

INSERT INTO products (sku, title, price, stock, released) VALUES
    ('LAMP-1', 'Desk lamp', 24.90, 12, '2023-09-01'),
    ('PEN-7', 'Fountain pen', 149.00, 0, NULL);
