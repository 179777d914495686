"""The calendar, in UTC and in a few time zones: days since 1970 to year, month and day and back, parts and cuts of a timestamp, months
added to one. Proleptic Gregorian, weeks and years of ISO, no leap seconds. No range: a year may have five digits.

Offsets of zones come from pytz, whose tables are the IANA database.
"""

import datetime

import pytz

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime.date(1970, 1, 1).toordinal()
ZONES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "UTC", "Asia/Tokyo")
# Between these all systems know the same rules of zones.
ZONE_YEARS = (1907, 2036)


def midnight(day: datetime.date) -> int:
    """The instant that a date begins with."""
    return (day.toordinal() - EPOCH) * DAY


def day_at(at: int) -> datetime.date | None:
    """The date that an instant lies in; None beyond the years 1 to 9999."""
    return ordinal(at // DAY + EPOCH)


def ordinal(number: int) -> datetime.date | None:
    """The date of an ordinal; None where there is none."""
    return datetime.date.fromordinal(number) if 1 <= number <= datetime.date.max.toordinal() else None


def date_of(days: int) -> tuple[int, int, int]:
    """Year, month, day of days since 1970."""
    days += 719_468
    era, day = divmod(days, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    return year + era * 400 + (month <= 2), month, day + 1


def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970."""
    year -= month <= 2
    era, year = divmod(year, 400)
    in_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + year * 365 + year // 4 - year // 100 + in_year - 719_468


def month_days(year: int, month: int) -> int:
    return days_of(year + month // 12, month % 12 + 1, 1) - days_of(year, month, 1)


def iso_week(days: int) -> int:
    # The week belongs to the year of its Thursday.
    thursday = days - (days + 3) % 7 + 3
    return (thursday - days_of(date_of(thursday)[0], 1, 1)) // 7 + 1


def part(name: str, at: int) -> int | float:
    """A part of a timestamp; `epoch` is a double, rounded once."""
    if name == "epoch":
        return at / SECOND
    days, rest = divmod(at, DAY)
    year, month, day = date_of(days)
    match name:
        case "year":
            return year
        case "quarter":
            return (month + 2) // 3
        case "month":
            return month
        case "week":
            return iso_week(days)
        case "day":
            return day
        case "dow":
            return (days + 4) % 7
        case "doy":
            return days - days_of(year, 1, 1) + 1
        case "hour":
            return rest // HOUR
        case "minute":
            return rest // MINUTE % 60
    raise AssertionError(name)


PARTS = ("year", "quarter", "month", "week", "day", "dow", "doy", "hour", "minute")


def cut(unit: str, at: int) -> int:
    """The greatest instant at or before `at` where a unit begins."""
    fixed = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
    if unit in fixed:
        return at - at % fixed[unit]
    days = at // DAY
    year, month, _ = date_of(days)
    match unit:
        case "week":
            return (days - (days + 3) % 7) * DAY
        case "month":
            return days_of(year, month, 1) * DAY
        case "quarter":
            return days_of(year, (month - 1) // 3 * 3 + 1, 1) * DAY
        case "year":
            return days_of(year, 1, 1) * DAY
    raise AssertionError(unit)


UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")


def add_months(at: int, months: int) -> int:
    """The same day `months` later, or the last one of a shorter month."""
    days, rest = divmod(at, DAY)
    year, month, day = date_of(days)
    year, month = divmod(year * 12 + month - 1 + months, 12)
    return days_of(year, month + 1, min(day, month_days(year, month + 1))) * DAY + rest


def local(zone: str, at: int) -> int | None:
    """The wall clock of a zone as if it were UTC; None for a year whose rules are not agreed on."""
    if not ZONE_YEARS[0] <= date_of(at // DAY)[0] <= ZONE_YEARS[1]:
        return None
    utc = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=at // SECOND)
    offset = utc.astimezone(pytz.timezone(zone)).utcoffset()
    return at + int(offset.total_seconds()) * SECOND
