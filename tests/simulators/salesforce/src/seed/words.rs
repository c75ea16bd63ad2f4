//! Names, places, phones and texts for generated records. All mail domains are reserved.

use crate::seed::generate::SplitMix;

const FIRST: [&str; 48] = [
    "Anna",
    "Louise",
    "Sébastien",
    "Jürgen",
    "Amélie",
    "Noah",
    "Emma",
    "Liam",
    "Olivia",
    "Mateo",
    "Sofía",
    "Yuki",
    "Aisha",
    "Björn",
    "Chloé",
    "Dmitri",
    "Elena",
    "Fatima",
    "George",
    "Hannah",
    "Ivan",
    "Jasmine",
    "Kwame",
    "Lars",
    "María",
    "Niamh",
    "Oscar",
    "Priya",
    "Quentin",
    "Rosa",
    "Søren",
    "Theresa",
    "Uwe",
    "Valérie",
    "William",
    "Xin",
    "Yara",
    "Zoë",
    "Michael",
    "Jennifer",
    "David",
    "Patricia",
    "Robert",
    "Linda",
    "Thomas",
    "Barbara",
    "Peter",
    "Susan",
];
const LAST: [&str; 48] = [
    "Smith",
    "Johnson",
    "Müller",
    "Schäfer",
    "O'Brien",
    "García",
    "Nguyen",
    "Kowalski",
    "Dubois",
    "Lefèvre",
    "Rossi",
    "Bianchi",
    "Andersson",
    "Hansen",
    "van der Berg",
    "de Souza",
    "Tanaka",
    "Yamamoto",
    "Singh",
    "Patel",
    "Okafor",
    "Mensah",
    "Ivanov",
    "Petrova",
    "Weiß",
    "Groß",
    "Taylor",
    "Wilson",
    "Davies",
    "Evans",
    "Hughes",
    "Walker",
    "Wright",
    "Hall",
    "Green",
    "Adams",
    "Baker",
    "Clark",
    "Diaz",
    "Ellis",
    "Foster",
    "Graham",
    "Hunter",
    "Irwin",
    "Jensen",
    "Keller",
    "Lambert",
    "Moreau",
];
pub const TITLES: [&str; 8] = [
    "Chief Medical Officer",
    "Retail Banker",
    "VP, Operations",
    "Engineer (R&D)",
    "Buyer",
    "Head of \"Digital\"",
    "Geschäftsführer",
    "Nurse Practitioner",
];
pub const ADJECTIVES: [&str; 8] = [
    "Ergonomic",
    "Managed",
    "Adaptive",
    "Secure",
    "Compact",
    "Größere",
    "Next-Gen",
    "Classic",
];
pub const GOODS: [&str; 8] = [
    "Infusion Pump",
    "Gateway",
    "Analytics Suite",
    "Scanner",
    "Monitor",
    "Support Plan",
    "Router",
    "Lab Kit",
];
const STEMS: [&str; 16] = [
    "Northwind",
    "Blue River",
    "Helios",
    "Kestrel",
    "Granite",
    "Meridian",
    "Alpen",
    "Cobalt",
    "Juniper",
    "Orchard",
    "Quarry",
    "Sable",
    "Tidewater",
    "Umbra",
    "Vantage",
    "Willow",
];
const FORMS: [&str; 8] = [
    "Ltd",
    "GmbH & Co. KG",
    "Inc.",
    "LLC",
    "\"Global\" Holdings",
    "S.à r.l.",
    "PLC, London",
    "Group",
];

const US: [(&str, &str, &str); 5] = [
    ("South Jamesport", "CT", "06"),
    ("Austin", "TX", "78"),
    ("Portland", "OR", "97"),
    ("Miami", "FL", "33"),
    ("Boise", "ID", "83"),
];
const UK: [(&str, &str, &str); 4] = [
    ("London", "Greater London", "SW1A"),
    ("Leeds", "West Yorkshire", "LS1"),
    ("Bristol", "Avon", "BS1"),
    ("Glasgow", "Lanarkshire", "G2"),
];
const DE: [(&str, &str, &str); 4] = [
    ("München", "Bayern", "80"),
    ("Köln", "Nordrhein-Westfalen", "50"),
    ("Hamburg", "Hamburg", "20"),
    ("Görlitz", "Sachsen", "02"),
];
const STREETS: [[&str; 4]; 3] = [
    ["Norman Stravenue", "Main Street", "Oak Avenue", "Elm Drive"],
    ["High Street", "Station Road", "Queen's Walk", "Mill Lane"],
    ["Hauptstraße", "Bahnhofstraße", "Königsallee", "Lindenweg"],
];

/// 0 US, 1 UK, 2 DE.
pub fn country(random: &mut SplitMix) -> usize {
    [0, 0, 1, 2][random.below(4) as usize]
}

/// A phone number in one of the country's habits. Nobody has it: the area code 555 is not assigned, London has no
/// numbers that begin with 5, 0710 is allotted to nobody, and no German subscriber number begins with 0. Ranges kept
/// for fiction are left to those who mask: in a target, such a number can then only be a mask.
pub fn phone(random: &mut SplitMix, country: usize) -> String {
    let exchange = random.below(800) + 200;
    let line = random.below(10_000);
    match (country, random.below(3)) {
        (0, 0) => format!("(555) {exchange}-{line:04}"),
        (0, 1) => format!("+1 555 {exchange} {line:04}"),
        (0, _) => format!("555-{exchange}-{line:04}"),
        (1, 0) => format!("020 5{exchange} {line:04}"),
        (1, 1) => format!("+44 20 5{exchange} {line:04}"),
        (1, _) => format!("07100 {:06}", random.below(1_000_000)),
        (_, 0) => format!("+49 30 0{line:04} {exchange}"),
        (_, 1) => format!("089/0{line:04}-{exchange}"),
        _ => format!("0221 0{:06}", random.below(1_000_000)),
    }
}

/// A postal address.
pub struct Place {
    pub street: String,
    pub city: &'static str,
    pub state: &'static str,
    pub postal_code: String,
    pub country: &'static str,
}

/// An address in a country.
pub fn place(random: &mut SplitMix, country: usize) -> Place {
    let number = random.below(9000) + 1;
    let name = STREETS[country.min(2)][random.below(4) as usize];
    let tail = random.below(1000);
    match country {
        0 => {
            let (city, state, zip) = US[random.below(5) as usize];
            let suite = if random.percent(25) {
                format!("\nSuite {tail}")
            } else {
                String::new()
            };
            Place {
                street: format!("{number} {name}{suite}"),
                city,
                state,
                postal_code: format!("{zip}{tail:03}"),
                country: "USA",
            }
        }
        1 => {
            let (city, state, area) = UK[random.below(4) as usize];
            Place {
                street: format!("{number} {name}"),
                city,
                state,
                postal_code: format!("{area} {}AA", tail % 10),
                country: "United Kingdom",
            }
        }
        _ => {
            let (city, state, zip) = DE[random.below(4) as usize];
            Place {
                street: format!("{name} {}", number % 300 + 1),
                city,
                state,
                postal_code: format!("{zip}{tail:03}"),
                country: "Germany",
            }
        }
    }
}

/// A company name; sometimes awkward on purpose.
pub fn company(random: &mut SplitMix, serial: usize) -> String {
    let stem = random.pick(&STEMS);
    let form = random.pick(&FORMS);
    match random.below(12) {
        0 => format!("{stem} & Sons, {form} {serial}"),
        1 => format!("=HYPERLINK(\"{stem}\") {serial}"),
        2 => format!("{stem} 🏥 Klinik {serial}"),
        _ => format!("{stem} {serial} {form}"),
    }
}

/// A person; `serial` makes the address unique.
pub struct Person {
    pub first: &'static str,
    pub last: String,
    pub email: String,
    pub phone: String,
    pub country: usize,
}

impl Person {
    pub fn new(random: &mut SplitMix, serial: usize) -> Self {
        let first = random.pick(&FIRST);
        let last = random.pick(&LAST);
        let double = random.percent(7);
        let country = country(random);
        let plain = |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase() };
        let email = format!("{}.{}{serial}@acme-{}.example", plain(first), plain(last), random.below(5000));
        let last = if double {
            format!("{last}-{}", random.pick(&LAST))
        } else {
            last.to_owned()
        };
        Self {
            first,
            last,
            email,
            phone: phone(random, country),
            country,
        }
    }
}

const SENTENCES: [&str; 10] = [
    "Asked for a revised quote, including \"rush\" delivery.",
    "Prefers contact in the morning; do not call after 5pm.",
    "Vertragsverlängerung läuft über die Zentrale in München.",
    "Escalated twice – see attachment.",
    "=1+1 was pasted from a spreadsheet.",
    "Customer was happy 😀 with the onboarding.",
    "Line one\nline two, with a comma",
    "Invoice 20% paid; remainder due \\ overdue.",
    "Met at the trade fair; wants a demo for 12 users.",
    "Alternate contact is on parental leave until spring.",
];

/// Free text; with a person it sometimes repeats their name, phone or address.
pub fn note(random: &mut SplitMix, person: Option<&Person>) -> String {
    let mut out = String::new();
    for _ in 0..=random.below(3) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(random.pick(&SENTENCES));
    }
    if let Some(person) = person {
        match random.below(5) {
            0 => out.push_str(&format!(" Call back on {}.", person.phone)),
            1 => out.push_str(&format!(" Mail: {}", person.email)),
            2 => out.push_str(&format!(" Spoke to {} {}.", person.first, person.last)),
            _ => {}
        }
    }
    out
}
