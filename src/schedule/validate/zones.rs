//! Names of time zones: which zone one is, or what to write instead.

use jiff::tz::TimeZone;

use super::super::words::nearest;

/// Abbreviations that are no names in the tz database, each with the zone of a city that most
/// people mean by it.
const ABBREVIATIONS: [(&str, &str); 55] = [
    ("ACDT", "Australia/Adelaide"),
    ("ACST", "Australia/Adelaide"),
    ("ADT", "America/Halifax"),
    ("AEDT", "Australia/Sydney"),
    ("AEST", "Australia/Sydney"),
    ("AKDT", "America/Anchorage"),
    ("AKST", "America/Anchorage"),
    ("ART", "America/Argentina/Buenos_Aires"),
    ("AST", "America/Halifax"),
    ("AWST", "Australia/Perth"),
    ("BRT", "America/Sao_Paulo"),
    ("BST", "Europe/London"),
    ("CAT", "Africa/Maputo"),
    ("CDT", "America/Chicago"),
    ("CEST", "Europe/Berlin"),
    ("CLT", "America/Santiago"),
    ("COT", "America/Bogota"),
    ("CST", "America/Chicago"),
    ("CT", "America/Chicago"),
    ("EAT", "Africa/Nairobi"),
    ("EDT", "America/New_York"),
    ("EEST", "Europe/Athens"),
    ("ET", "America/New_York"),
    ("GST", "Asia/Dubai"),
    ("HDT", "America/Adak"),
    ("HKT", "Asia/Hong_Kong"),
    ("ICT", "Asia/Bangkok"),
    ("IDT", "Asia/Jerusalem"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("KST", "Asia/Seoul"),
    ("MDT", "America/Denver"),
    ("MESZ", "Europe/Berlin"),
    ("MEZ", "Europe/Berlin"),
    ("MSK", "Europe/Moscow"),
    ("MT", "America/Denver"),
    ("MYT", "Asia/Kuala_Lumpur"),
    ("NDT", "America/St_Johns"),
    ("NPT", "Asia/Kathmandu"),
    ("NST", "America/St_Johns"),
    ("NZDT", "Pacific/Auckland"),
    ("NZST", "Pacific/Auckland"),
    ("PDT", "America/Los_Angeles"),
    ("PET", "America/Lima"),
    ("PHT", "Asia/Manila"),
    ("PKT", "Asia/Karachi"),
    ("PST", "America/Los_Angeles"),
    ("PT", "America/Los_Angeles"),
    ("SAST", "Africa/Johannesburg"),
    ("SGT", "Asia/Singapore"),
    ("TRT", "Europe/Istanbul"),
    ("WAT", "Africa/Lagos"),
    ("WEST", "Europe/Lisbon"),
    ("WIB", "Asia/Jakarta"),
    ("WIT", "Asia/Jayapura"),
];

/// Abbreviations that stand for clocks in several parts of the world, with the others.
const SHARED: [(&str, &str); 5] = [
    ("AST", "`Asia/Riyadh`"),
    ("BST", "`Asia/Dhaka`"),
    ("CST", "`Asia/Shanghai` or `America/Havana`"),
    ("GST", "`Atlantic/South_Georgia`"),
    ("IST", "`Europe/Dublin` or `Asia/Jerusalem`"),
];

/// Names that the tz database had once, or that newer systems keep in a package of its own, each
/// with what replaced it: the first of them that the system knows is proposed.
const FORMER: [(&str, &[&str]); 26] = [
    ("US/Pacific-New", &["US/Pacific", "America/Los_Angeles"]),
    ("Canada/East-Saskatchewan", &["Canada/Saskatchewan", "America/Regina"]),
    ("SystemV/AST4", &["America/Puerto_Rico"]),
    ("SystemV/AST4ADT", &["America/Halifax"]),
    ("SystemV/EST5", &["America/Indiana/Indianapolis"]),
    ("SystemV/EST5EDT", &["America/New_York"]),
    ("SystemV/CST6", &["America/Regina"]),
    ("SystemV/CST6CDT", &["America/Chicago"]),
    ("SystemV/MST7", &["America/Phoenix"]),
    ("SystemV/MST7MDT", &["America/Denver"]),
    ("SystemV/PST8", &["Pacific/Pitcairn"]),
    ("SystemV/PST8PDT", &["America/Los_Angeles"]),
    ("SystemV/YST9YDT", &["America/Anchorage"]),
    ("US/Alaska", &["America/Anchorage"]),
    ("US/Aleutian", &["America/Adak"]),
    ("US/Arizona", &["America/Phoenix"]),
    ("US/Central", &["America/Chicago"]),
    ("US/East-Indiana", &["America/Indiana/Indianapolis"]),
    ("US/Eastern", &["America/New_York"]),
    ("US/Hawaii", &["Pacific/Honolulu"]),
    ("US/Indiana-Starke", &["America/Indiana/Knox"]),
    ("US/Michigan", &["America/Detroit"]),
    ("US/Mountain", &["America/Denver"]),
    ("US/Pacific", &["America/Los_Angeles"]),
    ("US/Samoa", &["Pacific/Pago_Pago"]),
    ("Asia/Hanoi", &["Asia/Ho_Chi_Minh", "Asia/Bangkok"]),
];

/// Offsets that are no whole hours, in minutes, each with a city that keeps it all year or as its
/// winter time.
const ODD_OFFSETS: [(i32, &str); 11] = [
    (-570, "Pacific/Marquesas"),
    (-210, "America/St_Johns"),
    (210, "Asia/Tehran"),
    (270, "Asia/Kabul"),
    (330, "Asia/Kolkata"),
    (345, "Asia/Kathmandu"),
    (390, "Asia/Yangon"),
    (525, "Australia/Eucla"),
    (570, "Australia/Darwin"),
    (630, "Australia/Lord_Howe"),
    (765, "Pacific/Chatham"),
];

/// Letters that an abbreviation has at most.
const ABBREVIATION: usize = 5;

/// The zone of a name, or what to write instead.
pub(super) fn look_up(name: &str) -> Result<TimeZone, String> {
    known(name).ok_or_else(|| help(name))
}

fn known(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())
}

fn help(name: &str) -> String {
    let wanted = name.trim();
    let same = |(known, _): &&(&str, &str)| known.eq_ignore_ascii_case(wanted);
    if let Some((abbreviation, zone)) = ABBREVIATIONS.iter().find(same) {
        let others = SHARED.iter().find(same).map_or(String::new(), |(_, others)| format!(", or {others}"));
        return format!(
            "`{abbreviation}` is an abbreviation, and no zone: name the city\'s, as `{zone}`{others}"
        );
    }
    if let Some(minutes) = offset(wanted) {
        return of_offset(minutes);
    }
    let former = FORMER.iter().find(|(former, _)| former.eq_ignore_ascii_case(wanted));
    if let Some(zone) = former.and_then(|(_, now)| now.iter().find(|zone| known(zone).is_some())) {
        return format!("write `{zone}`, which replaced it");
    }
    let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
    let city = |zone: &str| zone.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let place = wanted.to_ascii_lowercase().replace([' ', '-'], "_");
    let by_city = || zones.iter().find(|zone| zone.contains('/') && city(zone) == place).map(String::as_str);
    let is_abbreviation =
        (2..=ABBREVIATION).contains(&wanted.len()) && wanted.bytes().all(|b| b.is_ascii_uppercase());
    let by_name = || nearest(name, zones.iter().map(String::as_str)).filter(|_| !is_abbreviation);
    match by_name().or_else(by_city) {
        Some(zone) => format!("did you mean `{zone}`?"),
        None if is_abbreviation => {
            "abbreviations are no zones: name the city\'s, as `Europe/London`; or write `UTC`".into()
        }
        None => "write a name of the tz database, such as `Europe/London` or `UTC`".into(),
    }
}

/// The minutes by which a clock is ahead of UTC, of `GMT+5`, `UTC-03:00` and `+0530`.
fn offset(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper
        .strip_prefix("ETC/UTC")
        .or_else(|| upper.strip_prefix("UTC"))
        .or_else(|| upper.strip_prefix("GMT"));
    let signed = bare.unwrap_or(&upper).trim_start();
    let (sign, digits) = match signed.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() > 2 => digits.split_at_checked(digits.len() - 2)?,
        None => (digits, "0"),
    };
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    Some(sign * (i32::from(number(hours)?) * 60 + i32::from(number(minutes)?)))
}

fn of_offset(minutes: i32) -> String {
    const CITY: &str = "better, name the zone of a city, which knows its daylight saving";
    let ahead = if minutes < 0 { "behind" } else { "ahead of" };
    let hours = minutes.abs() / 60;
    let counted = if hours == 1 { "1 hour".to_owned() } else { format!("{hours} hours") };
    match minutes {
        0 => "write `UTC`".into(),
        _ if !(-12 * 60..=14 * 60).contains(&minutes) => {
            "no clock is that far from UTC: write the name of a city\'s zone, such as `Europe/London`".into()
        }
        _ if minutes % 60 == 0 => {
            let turned = if minutes < 0 { '+' } else { '-' };
            format!(
                "for {counted} {ahead} UTC write `Etc/GMT{turned}{hours}`, whose sign is turned round; {CITY}"
            )
        }
        _ => match ODD_OFFSETS.iter().find(|(odd, _)| *odd == minutes) {
            Some((_, zone)) => format!("an offset is no zone: name the city\'s, as `{zone}`"),
            None => "an offset is no zone: write the name of a city\'s zone, such as `Europe/London`".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_is_a_zone() {
        for (abbreviation, zone) in ABBREVIATIONS {
            assert!(known(abbreviation).is_none(), "{abbreviation} is a zone");
            assert!(known(zone).is_some(), "{zone} for {abbreviation}");
        }
        for (_, zone) in ODD_OFFSETS {
            assert!(known(zone).is_some(), "{zone}");
        }
        for (former, now) in FORMER {
            assert!(now.iter().any(|zone| known(zone).is_some()), "one of {now:?} for {former}");
        }
        for hours in -12..=14 {
            let help = of_offset(hours * 60);
            let zone = help.split('`').nth(1).and_then(known).unwrap_or_else(|| panic!("a zone in {help}"));
            assert_eq!(zone.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds(), hours * 3600, "{help}");
        }
    }
}
