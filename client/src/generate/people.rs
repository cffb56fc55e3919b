//! Random people with Argentine names, including accents and, rarely, quotes that a CSV reader must
//! handle. No name has a `;`, `,` or `|`: each separates the fields of some dialect.

use lottery::Birthdate;
use rand_chacha::ChaCha8Rng;

use super::below;

/// A person who places a bet.
pub(crate) struct Person {
    /// One or two given names, sometimes with a nickname in quotes.
    pub(crate) first_name: String,
    /// One or two family names, sometimes with a suffix in parentheses.
    pub(crate) last_name: String,
    /// Identity document number.
    pub(crate) document: u32,
    /// Date of birth.
    pub(crate) birthdate: Birthdate,
}

/// First and last document number, as in the course's data.
const DOCUMENTS: [u32; 2] = [20_000_000, 40_000_000];

/// First and last year of birth.
const YEARS: [u32; 2] = [1950, 2005];

/// One in this many first names has a nickname in quotes; one in this many last names has a suffix.
const RARE: u32 = 100;

impl Person {
    /// Returns the next random person.
    pub(crate) fn random(rng: &mut ChaCha8Rng) -> Self {
        Self {
            first_name: first_name(rng),
            last_name: last_name(rng),
            document: between(rng, DOCUMENTS),
            birthdate: birthdate(rng),
        }
    }
}

fn first_name(rng: &mut ChaCha8Rng) -> String {
    let name = pick(rng, &GIVEN);
    if below(rng, RARE) == 0 {
        return format!("{name} \"{}\"", pick(rng, &NICKNAMES));
    }
    // Two in five have a second name that differs from the first.
    match pick(rng, &GIVEN) {
        second if below(rng, 5) < 2 && second != name => format!("{name} {second}"),
        _ => name.to_owned(),
    }
}

fn last_name(rng: &mut ChaCha8Rng) -> String {
    let name = pick(rng, &FAMILY);
    if below(rng, RARE) == 0 {
        return format!("{name} ({})", pick(rng, &SUFFIXES));
    }
    match pick(rng, &FAMILY) {
        second if below(rng, 20) == 0 && second != name => format!("{name} {second}"),
        _ => name.to_owned(),
    }
}

/// Returns a random calendar date. Draws again if the date does not exist.
fn birthdate(rng: &mut ChaCha8Rng) -> Birthdate {
    loop {
        let year = between(rng, YEARS) as u16;
        let (month, day) = (1 + below(rng, 12), 1 + below(rng, 31));
        if let Some(date) = Birthdate::new(year, month as u8, day as u8) {
            return date;
        }
    }
}

/// Returns a random number in the inclusive range.
fn between(rng: &mut ChaCha8Rng, [first, last]: [u32; 2]) -> u32 {
    first + below(rng, last - first + 1)
}

fn pick<'n>(rng: &mut ChaCha8Rng, names: &[&'n str]) -> &'n str {
    names[below(rng, names.len() as u32) as usize]
}

const GIVEN: [&str; 60] = [
    "Agustín",
    "Agustina",
    "Alma",
    "Axel",
    "Bautista",
    "Begoña",
    "Belén",
    "Benjamín",
    "Bruno",
    "Camila",
    "Candela",
    "Catalina",
    "Ciro",
    "Clara",
    "Delfina",
    "Emanuel",
    "Emilia",
    "Enzo",
    "Facundo",
    "Felipe",
    "Franco",
    "Gael",
    "Guadalupe",
    "Ignacio",
    "Inés",
    "Isabella",
    "Jazmín",
    "Joaquín",
    "Josefina",
    "Juan",
    "Julián",
    "Julieta",
    "Lautaro",
    "León",
    "Lucía",
    "Malena",
    "María",
    "Martina",
    "Mateo",
    "Matías",
    "Mía",
    "Milagros",
    "Morena",
    "Nahuel",
    "Nicolás",
    "Olivia",
    "Pilar",
    "Ramiro",
    "Renata",
    "Rocío",
    "Santiago",
    "Santino",
    "Sofía",
    "Thiago",
    "Tomás",
    "Valentín",
    "Valentina",
    "Victoria",
    "Ximena",
    "Zoe",
];

const FAMILY: [&str; 60] = [
    "Acosta",
    "Agüero",
    "Álvarez",
    "Aranda",
    "Benítez",
    "Borges",
    "Cabrera",
    "Cáceres",
    "Castañeda",
    "Castro",
    "Córdoba",
    "D'Angelo",
    "Díaz",
    "Domínguez",
    "Echeverría",
    "Fernández",
    "Ferreyra",
    "Flores",
    "Fornerón",
    "García",
    "Giménez",
    "Godoy",
    "Gómez",
    "González",
    "Güemes",
    "Gutiérrez",
    "Hernández",
    "Herrera",
    "Ibáñez",
    "Juárez",
    "Leiva",
    "López",
    "Lorca",
    "Luna",
    "Mamani",
    "Maldonado",
    "Martínez",
    "Medina",
    "Mejía",
    "Muñoz",
    "Núñez",
    "Ojeda",
    "Ordóñez",
    "Paz",
    "Peralta",
    "Pérez",
    "Quiroga",
    "Ramírez",
    "Ríos",
    "Rivera",
    "Rodríguez",
    "Romero",
    "Saldaña",
    "Sánchez",
    "Sosa",
    "Torres",
    "Vera",
    "Yáñez",
    "Zambrano",
    "Zúñiga",
];

const NICKNAMES: [&str; 8] = ["Beto", "Chuña", "Cacho", "Lali", "Ñata", "Pepe", "Pipa", "Tití"];

const SUFFIXES: [&str; 4] = ["hijo", "hija", "h.", "viuda de Paz"];

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// Length in bytes of the longest name that every dialect and original program accepts.
    const LONGEST_NAME: usize = 30;

    #[test]
    fn every_dialect_can_encode_the_names_and_they_include_the_difficult_characters() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let names: Vec<String> = (0..50_000)
            .flat_map(|_| {
                let Person { first_name, last_name, .. } = Person::random(&mut rng);
                [first_name, last_name]
            })
            .collect();
        for name in &names {
            assert!(!name.contains([';', ',', '|', '\n']) && !name.is_empty(), "{name}");
            assert!(name.len() <= LONGEST_NAME, "{name} has {} bytes", name.len());
        }
        for odd in ["(", "\"", "ñ", "ü", "'", " "] {
            assert!(names.iter().any(|name| name.contains(odd)), "no name has {odd}");
        }
    }

    #[test]
    fn documents_and_dates_stay_within_their_ranges() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..50_000 {
            let Person { document, birthdate, .. } = Person::random(&mut rng);
            assert!((DOCUMENTS[0]..=DOCUMENTS[1]).contains(&document));
            assert!((YEARS[0]..=YEARS[1]).contains(&birthdate.parts().0.into()));
        }
    }
}
