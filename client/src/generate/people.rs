//! Invented people: names as they are in Argentina, with their accents, and now and then with the quotes that a CSV reader
//! must not stumble over. Never a `;`, `,` or `|`: each separates the fields of some dialect, which cannot carry it then.

use lottery::Birthdate;
use rand_chacha::ChaCha8Rng;

use super::below;

/// Who takes a bet.
pub(crate) struct Person {
    /// One or two given names, sometimes with a nickname in quotes.
    pub(crate) first_name: String,
    /// One or two family names, sometimes with a suffix in parentheses.
    pub(crate) last_name: String,
    /// Number of the identity document.
    pub(crate) document: u32,
    /// Date of birth.
    pub(crate) birthdate: Birthdate,
}

/// Documents go from the first of these to the second, as in the course's data.
const DOCUMENTS: [u32; 2] = [20_000_000, 40_000_000];

/// Years of birth, first and last.
const YEARS: [u32; 2] = [1950, 2005];

/// One in so many first names has quotes, and one in so many last names a suffix.
const ODD_ONE_IN: u32 = 100;

impl Person {
    /// Draws the next person.
    pub(crate) fn draw(chance: &mut ChaCha8Rng) -> Self {
        Self {
            first_name: first_name(chance),
            last_name: last_name(chance),
            document: between(chance, DOCUMENTS),
            birthdate: birthdate(chance),
        }
    }
}

fn first_name(chance: &mut ChaCha8Rng) -> String {
    let name = pick(chance, &GIVEN);
    if below(chance, ODD_ONE_IN) == 0 {
        return format!("{name} \"{}\"", pick(chance, &NICKNAMES));
    }
    // Two in five have a second name, another one than the first.
    match pick(chance, &GIVEN) {
        second if below(chance, 5) < 2 && second != name => format!("{name} {second}"),
        _ => name.to_owned(),
    }
}

fn last_name(chance: &mut ChaCha8Rng) -> String {
    let name = pick(chance, &FAMILY);
    if below(chance, ODD_ONE_IN) == 0 {
        return format!("{name} ({})", pick(chance, &SUFFIXES));
    }
    match pick(chance, &FAMILY) {
        second if below(chance, 20) == 0 && second != name => format!("{name} {second}"),
        _ => name.to_owned(),
    }
}

/// A day that exists: one that does not is drawn again.
fn birthdate(chance: &mut ChaCha8Rng) -> Birthdate {
    loop {
        let year = between(chance, YEARS) as u16;
        let (month, day) = (1 + below(chance, 12), 1 + below(chance, 31));
        if let Some(date) = Birthdate::new(year, month as u8, day as u8) {
            return date;
        }
    }
}

/// A number from the first to the second, both included.
fn between(chance: &mut ChaCha8Rng, [first, last]: [u32; 2]) -> u32 {
    first + below(chance, last - first + 1)
}

fn pick<'n>(chance: &mut ChaCha8Rng, names: &[&'n str]) -> &'n str {
    names[below(chance, names.len() as u32) as usize]
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

    /// Bytes of the longest name that every dialect and every original program takes.
    const LONGEST_NAME: usize = 30;

    #[test]
    fn names_can_be_carried_by_every_dialect_and_hold_all_that_readers_stumble_over() {
        let mut chance = ChaCha8Rng::seed_from_u64(1);
        let names: Vec<String> = (0..50_000)
            .flat_map(|_| {
                let Person { first_name, last_name, .. } = Person::draw(&mut chance);
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
    fn documents_and_dates_stay_in_their_range() {
        let mut chance = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..50_000 {
            let Person { document, birthdate, .. } = Person::draw(&mut chance);
            assert!((DOCUMENTS[0]..=DOCUMENTS[1]).contains(&document));
            assert!((YEARS[0]..=YEARS[1]).contains(&birthdate.parts().0.into()));
        }
    }
}
