-- How busy and how late an airport is: both ends of a window count, NULL delays count as departures alone, and after two
-- days without a departure nothing is known.

CREATE TEST airport_traffic_counts_both_ends_of_an_hour
GIVEN departures (flight_id, carrier, origin, dest, dep_time, dep_delay) VALUES
    ('a', 'B6', 'JFK', 'BOS', '2013-07-01 10:00:00', 10),
    ('b', 'B6', 'JFK', 'BOS', '2013-07-01 10:30:00', 20),
    ('c', 'DL', 'JFK', 'ATL', '2013-07-01 10:45:00', NULL),
    ('d', 'DL', 'JFK', 'ATL', '2013-07-01 11:00:00', -3),
    ('e', 'UA', 'EWR', 'ORD', '2013-07-01 10:50:00', 99)
AT TIMESTAMP '2013-07-01 10:59:59.999999'
EXPECT airport_traffic (origin, departures_1h, delayed_departures_1h, dep_delay_avg_1h, dep_delay_stddev_1h) VALUES
    ('JFK', 3, 1, 15, 7.0710678118654755),
    ('EWR', 1, 1, 99, NULL),
    ('LGA', NULL, NULL, NULL, NULL)
AT TIMESTAMP '2013-07-01 11:00:00'
EXPECT airport_traffic (origin, departures_1h, delayed_departures_1h, dep_delay_avg_1h, dep_delay_stddev_1h) VALUES
    ('JFK', 4, 1, 9, 11.532562594670797)
AT TIMESTAMP '2013-07-01 11:00:00.000001'
EXPECT airport_traffic (origin, departures_1h, delayed_departures_1h, dep_delay_avg_1h, dep_delay_stddev_1h) VALUES
    ('JFK', 3, 1, 8.5, 16.263455967290593);

CREATE TEST airport_traffic_of_a_day
GIVEN departures (flight_id, carrier, origin, dest, dep_time, dep_delay) VALUES
    ('a', 'B6', 'LGA', 'BOS', '2013-07-01 10:00:00', 40),
    ('b', 'B6', 'LGA', 'BOS', '2013-07-01 18:00:00', 5)
AT TIMESTAMP '2013-07-02 10:00:00'
EXPECT airport_traffic (origin, departures_1h, dep_delay_avg_24h, dep_delay_max_24h) VALUES ('LGA', 0, 22.5, 40)
AT TIMESTAMP '2013-07-02 10:00:00.000001'
EXPECT airport_traffic (origin, departures_1h, dep_delay_avg_24h, dep_delay_max_24h) VALUES ('LGA', 0, 5, 5)
-- An airport that has no departure for a day, and then for longer than the TTL.
AT TIMESTAMP '2013-07-03 18:00:00'
EXPECT airport_traffic (origin, departures_1h, dep_delay_avg_24h, dep_delay_max_24h) VALUES ('LGA', 0, NULL, NULL)
AT TIMESTAMP '2013-07-03 18:00:00.000001'
EXPECT airport_traffic (origin, departures_1h, dep_delay_avg_24h, dep_delay_max_24h) VALUES ('LGA', NULL, NULL, NULL);
