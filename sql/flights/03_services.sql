-- What the delay model reads: columns of the request, features as of its time, and expressions over both. Training sets and
-- served answers evaluate this same text.

CREATE FEATURE SERVICE delay_features (
    origin VARCHAR, dest VARCHAR, carrier VARCHAR, tailnum VARCHAR,
    distance BIGINT, sched_dep TIMESTAMP, dep_delay DOUBLE
) AS
SELECT request.dep_delay                                  AS departure_delay,
       CAST(request.distance AS DOUBLE)                   AS distance_miles,
       CAST(date_part('hour', request.sched_dep) AS DOUBLE) AS sched_hour_utc,
       t.departures_1h, t.delayed_departures_1h, t.dep_delay_avg_1h, t.dep_delay_stddev_1h,
       t.dep_delay_avg_24h, t.dep_delay_max_24h,
       c.arrivals_24h, c.arr_delay_avg_24h, c.arr_delay_avg_7d, c.arr_delay_stddev_7d,
       CAST(c.late_arrivals_7d AS DOUBLE) / nullif(c.arrivals_7d, 0) AS carrier_late_share_7d,
       r.route_arrivals_30d, r.route_arr_delay_avg_30d, r.route_arr_delay_max_30d,
       r.route_arrivals, r.route_air_time_avg, r.route_air_time_min,
       a.aircraft_last_dep_delay, a.aircraft_departures_24h, a.aircraft_miles_24h, a.aircraft_dep_delay_max_24h,
       w.temp, w.wind_speed, w.visib, w.pressure, w.precip_3h, w.wind_speed_max_3h, w.visib_min_3h,
       t.dep_delay_avg_1h - c.arr_delay_avg_24h           AS airport_minus_carrier,
       request.dep_delay - t.dep_delay_avg_1h             AS delay_minus_airport
FROM request
LEFT JOIN airport_traffic     AS t USING (origin)
LEFT JOIN carrier_punctuality AS c USING (carrier)
LEFT JOIN route_history       AS r USING (origin, dest)
LEFT JOIN aircraft_recent     AS a USING (tailnum)
LEFT JOIN origin_weather      AS w USING (origin);
