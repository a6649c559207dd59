-- Clocks: a device without a battery starts in 1970 or at any other time, until the network sets its clock.

-- The wall clock as retention believes it. It follows the time for which the server runs. The system's clock counts once the server has
-- run for some hours with it.
create table wall_clock (
    believed  integer not null,          -- one row: milliseconds since 1970, UTC, that messages are at least compared with,
    candidate integer not null,          -- the system's clock as it will be believed next,
    support   integer not null           -- and for how many milliseconds the server has run with it
);
