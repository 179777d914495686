-- Latest values: of the greatest time, whatever comes when; and what rests on a few hours or a day.

CREATE TEST aircraft_recent_follows_the_time_of_departure
GIVEN departures (flight_id, carrier, tailnum, origin, dest, distance, dep_time, dep_delay) VALUES
    ('a', 'B6', 'N1', 'JFK', 'BOS', 187, '2013-07-01 10:00:00', 5),
    -- It comes late, and is older.
    ('b', 'B6', 'N1', 'BOS', 'JFK', 187, '2013-07-01 08:00:00', 60),
    -- The last one of that time in the log.
    ('c', 'B6', 'N1', 'JFK', 'LAX', 2475, '2013-07-01 10:00:00', -2),
    -- Nobody knows which aircraft it was.
    ('d', 'B6', NULL, 'JFK', 'BOS', 187, '2013-07-01 11:00:00', 300)
AT TIMESTAMP '2013-07-01 12:00:00'
EXPECT aircraft_recent (tailnum, aircraft_last_dep_delay, aircraft_departures_24h, aircraft_miles_24h,
                        aircraft_dep_delay_max_24h) VALUES
    ('N1', -2, 3, 2849, 60),
    ('N2', NULL, NULL, NULL, NULL)
AT TIMESTAMP '2013-07-02 09:00:00'
EXPECT aircraft_recent (tailnum, aircraft_last_dep_delay, aircraft_departures_24h, aircraft_miles_24h,
                        aircraft_dep_delay_max_24h) VALUES
    ('N1', -2, 2, 2662, 5)
AT TIMESTAMP '2013-07-09 00:00:00'
EXPECT aircraft_recent (tailnum, aircraft_last_dep_delay, aircraft_departures_24h) VALUES ('N1', NULL, NULL);

CREATE TEST origin_weather_is_the_latest_observation
GIVEN weather (origin, observed_at, temp, wind_speed, precip, pressure, visib) VALUES
    ('JFK', '2013-07-01 06:00:00', 70.5, 12.5, 0.1, 1012.5, 10),
    ('JFK', '2013-07-01 08:00:00', 75, 3, 0.2, NULL, 4),
    ('JFK', '2013-07-01 09:00:00', 71, 8, NULL, 1011, 9)
AT TIMESTAMP '2013-07-01 09:00:00'
EXPECT origin_weather (origin, temp, wind_speed, visib, pressure, precip_3h, wind_speed_max_3h, visib_min_3h) VALUES
    ('JFK', 71, 8, 9, 1011, 0.30000000000000004, 12.5, 4)
AT TIMESTAMP '2013-07-01 11:30:00'
EXPECT origin_weather (origin, temp, wind_speed, visib, pressure, precip_3h, wind_speed_max_3h, visib_min_3h) VALUES
    ('JFK', 71, 8, 9, 1011, NULL, 8, 9)
AT TIMESTAMP '2013-07-01 15:00:00.000001'
EXPECT origin_weather (origin, temp, precip_3h) VALUES ('JFK', NULL, NULL);
