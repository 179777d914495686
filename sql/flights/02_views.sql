-- Features by entity. A value at time t covers the events with t - window <= event time <= t, both ends in.

CREATE ENTITY airport (origin VARCHAR);
CREATE ENTITY carrier (carrier VARCHAR);
CREATE ENTITY route (origin VARCHAR, dest VARCHAR);
CREATE ENTITY aircraft (tailnum VARCHAR);

-- How busy an airport is and how late its departures run.
CREATE FEATURE VIEW airport_traffic ENTITY airport TTL INTERVAL '2' DAY AS
SELECT origin, dep_time,
       count(*)                               OVER last_hour AS departures_1h,
       count(*) FILTER (WHERE dep_delay > 15) OVER last_hour AS delayed_departures_1h,
       avg(dep_delay)                         OVER last_hour AS dep_delay_avg_1h,
       stddev(dep_delay)                      OVER last_hour AS dep_delay_stddev_1h,
       avg(dep_delay)                         OVER last_day  AS dep_delay_avg_24h,
       max(dep_delay)                         OVER last_day  AS dep_delay_max_24h
FROM departures
WINDOW last_hour AS (PARTITION BY origin ORDER BY dep_time RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
       last_day  AS (PARTITION BY origin ORDER BY dep_time RANGE BETWEEN INTERVAL '1' DAY  PRECEDING AND CURRENT ROW);

-- How punctual a carrier arrives.
CREATE FEATURE VIEW carrier_punctuality ENTITY carrier TTL INTERVAL '14' DAY AS
SELECT carrier, arr_time,
       count(*)                               OVER last_day  AS arrivals_24h,
       avg(arr_delay)                         OVER last_day  AS arr_delay_avg_24h,
       count(*) FILTER (WHERE arr_delay > 15) OVER last_week AS late_arrivals_7d,
       count(arr_delay)                       OVER last_week AS arrivals_7d,
       avg(arr_delay)                         OVER last_week AS arr_delay_avg_7d,
       stddev(arr_delay)                      OVER last_week AS arr_delay_stddev_7d
FROM arrivals
WINDOW last_day  AS (PARTITION BY carrier ORDER BY arr_time RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW),
       last_week AS (PARTITION BY carrier ORDER BY arr_time RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW);

-- What a route has been like: the last 30 days, and ever since.
CREATE FEATURE VIEW route_history ENTITY route AS
SELECT origin, dest, arr_time,
       count(*)                                  OVER last_month AS route_arrivals_30d,
       avg(arr_delay)                            OVER last_month AS route_arr_delay_avg_30d,
       max(arr_delay)                            OVER last_month AS route_arr_delay_max_30d,
       count(*)                                  OVER ever       AS route_arrivals,
       avg(air_time)                             OVER ever       AS route_air_time_avg,
       min(air_time)                             OVER ever       AS route_air_time_min
FROM arrivals
WINDOW last_month AS (PARTITION BY origin, dest ORDER BY arr_time
                      RANGE BETWEEN INTERVAL '30' DAY PRECEDING AND CURRENT ROW),
       ever       AS (PARTITION BY origin, dest ORDER BY arr_time);

-- What an aircraft has done lately.
CREATE FEATURE VIEW aircraft_recent ENTITY aircraft TTL INTERVAL '7' DAY AS
SELECT tailnum, dep_time,
       last_value(dep_delay) OVER ever     AS aircraft_last_dep_delay,
       count(*)              OVER last_day AS aircraft_departures_24h,
       sum(distance)         OVER last_day AS aircraft_miles_24h,
       max(dep_delay)        OVER last_day AS aircraft_dep_delay_max_24h
FROM departures
WHERE tailnum IS NOT NULL
WINDOW ever     AS (PARTITION BY tailnum ORDER BY dep_time),
       last_day AS (PARTITION BY tailnum ORDER BY dep_time RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW);

-- The weather where the flight leaves: the latest observation, and how it has been.
CREATE FEATURE VIEW origin_weather ENTITY airport TTL INTERVAL '6' HOUR AS
SELECT origin, observed_at,
       last_value(temp)       OVER ever     AS temp,
       last_value(wind_speed) OVER ever     AS wind_speed,
       last_value(visib)      OVER ever     AS visib,
       last_value(pressure)   OVER ever     AS pressure,
       sum(precip)            OVER recently AS precip_3h,
       max(wind_speed)        OVER recently AS wind_speed_max_3h,
       min(visib)             OVER recently AS visib_min_3h
FROM weather
WINDOW ever     AS (PARTITION BY origin ORDER BY observed_at),
       recently AS (PARTITION BY origin ORDER BY observed_at
                    RANGE BETWEEN INTERVAL '3' HOUR PRECEDING AND CURRENT ROW);
