-- The model, where it scores, and how it is watched. A flight is late when it arrives more than 15 minutes after schedule.

CREATE MODEL late_arrival VERSION 1 FROM 'models/late_arrival/1' FEATURES delay_features;

CREATE DEPLOYMENT late_arrival ON departures INTO TOPIC 'predictions.late_arrival'
    CARRY (flight_id)
    STICKY BY (carrier)
    ROUTE VERSION 1 WEIGHT 100;

CREATE MONITOR late_arrival_quality ON MODEL late_arrival
    WINDOW INTERVAL '7' DAY LATENESS INTERVAL '1' HOUR
    LABELS FROM arrivals USING (flight_id) AS arr_delay > 15 WITHIN INTERVAL '1' DAY
    REFERENCE TRAINING SET 'late_arrival_2013q1'
    ALERT AT FALSE ALARM RATE 0.01 FOR 2 OF 3 WINDOWS;
