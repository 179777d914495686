-- What the model reads for one flight: columns of the request, features of five views, and expressions over both. Records
-- stand here as they do in the topics.

CREATE TEST delay_features_of_one_flight
GIVEN departures RECORDS
    '{"flight_id": "a", "carrier": "DL", "tailnum": "N1", "origin": "JFK", "dest": "ATL", "distance": 760,
      "dep_time": "2013-07-01T11:30:00Z", "dep_delay": 12.5}',
    '{"flight_id": "b", "carrier": "B6", "origin": "JFK", "dest": "BOS", "dep_time": "2013-07-01T11:45:00Z", "dep_delay": 20}',
    -- No carrier: a dead letter.
    '{"flight_id": "c", "origin": "JFK", "dest": "BOS", "dep_time": "2013-07-01T11:50:00Z", "dep_delay": 500}'
GIVEN arrivals (flight_id, carrier, origin, dest, arr_time, arr_delay, air_time) VALUES
    ('x', 'B6', 'JFK', 'BOS', '2013-07-01 09:00:00', 16, 40),
    ('y', 'B6', 'JFK', 'BOS', '2013-06-29 09:00:00', -4, 38)
GIVEN weather (origin, observed_at, temp, wind_speed, precip, pressure, visib) VALUES
    ('JFK', '2013-07-01 11:00:00', 80, 5.5, 0, 1013, 10)
AT TIMESTAMP '2013-07-01 12:00:00'
EXPECT delay_features (origin, dest, carrier, tailnum, distance, sched_dep, dep_delay,
        departure_delay, distance_miles, sched_hour_utc, departures_1h, delayed_departures_1h, dep_delay_avg_1h,
        dep_delay_stddev_1h, dep_delay_avg_24h, dep_delay_max_24h) VALUES
    ('JFK', 'BOS', 'B6', 'N1', 187, '2013-07-01 11:55:00', 7.25,
        7.25, 187, 11, 2, 1, 16.25, 5.303300858899107, 16.25, 20)
EXPECT delay_features (origin, dest, carrier, tailnum, dep_delay,
        arrivals_24h, arr_delay_avg_24h, arr_delay_avg_7d, arr_delay_stddev_7d, carrier_late_share_7d,
        route_arrivals_30d, route_arr_delay_avg_30d, route_arr_delay_max_30d, route_arrivals, route_air_time_avg,
        route_air_time_min) VALUES
    ('JFK', 'BOS', 'B6', 'N1', 7.25,
        1, 16, 6, 14.142135623730951, 0.5, 2, 6, 16, 2, 39, 38),
    -- A carrier and a route that nobody has seen.
    ('JFK', 'SFO', 'UA', NULL, 7.25,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
EXPECT delay_features (origin, dest, carrier, tailnum, dep_delay,
        aircraft_last_dep_delay, aircraft_departures_24h, aircraft_miles_24h, aircraft_dep_delay_max_24h,
        temp, wind_speed, visib, pressure, precip_3h, wind_speed_max_3h, visib_min_3h,
        airport_minus_carrier, delay_minus_airport) VALUES
    ('JFK', 'BOS', 'B6', 'N1', 7.25,
        12.5, 1, 760, 12.5, 80, 5.5, 10, 1013, 0, 5.5, 10, 0.25, -9);
