-- Carriers over a day and a week, routes over a month and ever since.

CREATE TEST carrier_punctuality_of_a_day_and_a_week
GIVEN arrivals (flight_id, carrier, origin, dest, arr_time, arr_delay) VALUES
    ('a', 'B6', 'JFK', 'BOS', '2013-07-01 12:00:00', 30),
    ('b', 'B6', 'JFK', 'BOS', '2013-07-03 12:00:00', 15),
    ('c', 'B6', 'LGA', 'BOS', '2013-07-03 13:00:00', -10),
    -- Cancelled on the way: an arrival without a delay.
    ('d', 'B6', 'LGA', 'BOS', '2013-07-03 14:00:00', NULL)
AT TIMESTAMP '2013-07-03 14:00:00'
EXPECT carrier_punctuality (carrier, arrivals_24h, arr_delay_avg_24h, late_arrivals_7d, arrivals_7d, arr_delay_avg_7d,
                            arr_delay_stddev_7d) VALUES
    ('B6', 3, 2.5, 1, 3, 11.666666666666666, 20.207259421636902),
    ('UA', NULL, NULL, NULL, NULL, NULL, NULL)
AT TIMESTAMP '2013-07-08 12:00:00.000001'
EXPECT carrier_punctuality (carrier, arrivals_24h, arr_delay_avg_24h, late_arrivals_7d, arrivals_7d, arr_delay_avg_7d,
                            arr_delay_stddev_7d) VALUES
    ('B6', 0, NULL, 0, 2, 2.5, 17.67766952966369)
AT TIMESTAMP '2013-07-17 14:00:00.000001'
EXPECT carrier_punctuality (carrier, arrivals_24h, arrivals_7d) VALUES ('B6', NULL, NULL);

CREATE TEST route_history_keeps_what_a_month_forgets
GIVEN arrivals (flight_id, carrier, origin, dest, arr_time, arr_delay, air_time) VALUES
    ('a', 'B6', 'JFK', 'BOS', '2013-05-01 12:00:00', 90, 50.5),
    ('b', 'B6', 'JFK', 'BOS', '2013-06-20 12:00:00', -5, 40),
    ('c', 'DL', 'JFK', 'BOS', '2013-06-25 12:00:00', 7, NULL),
    ('d', 'DL', 'BOS', 'JFK', '2013-06-25 12:00:00', 1, 44)
AT TIMESTAMP '2013-07-01 00:00:00'
EXPECT route_history (origin, dest, route_arrivals_30d, route_arr_delay_avg_30d, route_arr_delay_max_30d, route_arrivals,
                      route_air_time_avg, route_air_time_min) VALUES
    ('JFK', 'BOS', 2, 1, 7, 3, 45.25, 40),
    ('BOS', 'JFK', 1, 1, 1, 1, 44, 44),
    ('JFK', 'JFK', NULL, NULL, NULL, NULL, NULL, NULL);
