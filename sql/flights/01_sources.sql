-- The three streams of the flights demo: one JSON object an event, event times in UTC. A watermark trails the newest event
-- of its partition by the disorder that is expected; later rows are still taken as long as a window can see them.

CREATE SOURCE departures (
    flight_id VARCHAR NOT NULL,
    carrier   VARCHAR NOT NULL,
    flight    BIGINT,
    tailnum   VARCHAR,
    origin    VARCHAR NOT NULL,
    dest      VARCHAR NOT NULL,
    distance  BIGINT,
    sched_dep TIMESTAMP,
    dep_time  TIMESTAMP NOT NULL,
    dep_delay DOUBLE,
    WATERMARK FOR dep_time AS dep_time - INTERVAL '30' MINUTE
) WITH (connector = 'kafka', topic = 'departures', format = 'json');

CREATE SOURCE arrivals (
    flight_id VARCHAR NOT NULL,
    carrier   VARCHAR NOT NULL,
    origin    VARCHAR NOT NULL,
    dest      VARCHAR NOT NULL,
    arr_time  TIMESTAMP NOT NULL,
    arr_delay DOUBLE,
    air_time  DOUBLE,
    WATERMARK FOR arr_time AS arr_time - INTERVAL '30' MINUTE
) WITH (connector = 'kafka', topic = 'arrivals', format = 'json');

CREATE SOURCE weather (
    origin      VARCHAR NOT NULL,
    observed_at TIMESTAMP NOT NULL,
    temp        DOUBLE,
    dewp        DOUBLE,
    humid       DOUBLE,
    wind_dir    DOUBLE,
    wind_speed  DOUBLE,
    wind_gust   DOUBLE,
    precip      DOUBLE,
    pressure    DOUBLE,
    visib       DOUBLE,
    WATERMARK FOR observed_at AS observed_at - INTERVAL '30' MINUTE
) WITH (connector = 'kafka', topic = 'weather', format = 'json');
